//! What needs no thought: greetings, thanks, questions about itself, and what it can't do.

use crate::draw::Draw;
use crate::{Language, Problem, Task};

/// Something that is said, in both languages, and the answer to it.
struct Talk {
    asked: [&'static [&'static str]; 2],
    said: [&'static str; 2],
}

const TALKS: &[Talk] = &[
    Talk {
        asked: [
            &[
                "hello",
                "hi",
                "hey",
                "hello there",
                "hi there",
                "good morning",
                "good evening",
                "good afternoon",
                "greetings",
                "hello again",
                "hey there",
                "hiya",
                "howdy",
                "how are you",
                "how are you today",
                "hello, how are you",
                "are you there",
                "hi ruminate",
                "hello ruminate",
                "nice to meet you",
                "morning",
            ],
            &[
                "你好",
                "您好",
                "嗨",
                "早上好",
                "晚上好",
                "下午好",
                "你好啊",
                "你好呀",
                "大家好",
                "在吗",
                "你在吗",
                "最近好吗",
                "你好吗",
                "很高兴认识你",
                "早安",
                "哈喽",
                "嘿",
                "你好，在吗",
                "早",
            ],
        ],
        said: [
            "Hello! Give me a sum and I work it out from left to right.",
            "你好！给我一道算式，我从左到右算。",
        ],
    },
    Talk {
        asked: [
            &[
                "thanks",
                "thank you",
                "thank you very much",
                "many thanks",
                "thanks a lot",
                "great",
                "good job",
                "well done",
                "cheers",
                "that is right",
                "nice",
                "perfect",
                "very good",
                "thanks for your help",
                "ok thanks",
            ],
            &[
                "谢谢",
                "谢谢你",
                "多谢",
                "非常感谢",
                "太好了",
                "很好",
                "真棒",
                "感谢",
                "谢了",
                "做得好",
                "对了",
                "不错",
                "好的谢谢",
                "辛苦了",
            ],
        ],
        said: ["You are welcome.", "不客气。"],
    },
    Talk {
        asked: [
            &[
                "bye",
                "goodbye",
                "see you",
                "good night",
                "bye bye",
                "see you later",
                "take care",
                "farewell",
                "until tomorrow",
            ],
            &["再见", "拜拜", "晚安", "回头见", "明天见", "下次见", "保重", "我走了"],
        ],
        said: ["Goodbye.", "再见。"],
    },
    Talk {
        asked: [
            &[
                "who are you",
                "what are you",
                "what is your name",
                "who made you",
                "are you a model",
                "are you human",
                "which model are you",
                "introduce yourself",
                "tell me about yourself",
                "are you a robot",
                "what model is this",
                "who am I talking to",
                "do you have a name",
            ],
            &[
                "你是谁",
                "你叫什么名字",
                "你是什么",
                "你是什么模型",
                "谁做的你",
                "介绍一下你自己",
                "你是人吗",
                "你是机器人吗",
                "你叫什么",
                "请介绍一下自己",
                "你是哪个模型",
                "你有名字吗",
            ],
        ],
        said: [
            "I am the small model inside ruminate. I was trained here to calculate.",
            "我是 ruminate 自带的小模型，学的是计算。",
        ],
    },
    Talk {
        asked: [
            &[
                "what can you do",
                "help",
                "how can you help me",
                "what are you good at",
                "what do you know",
                "can you help me",
                "what should I ask",
                "what can I ask you",
                "show me what you can do",
                "what are you for",
                "how do you work",
                "give me an example",
            ],
            &[
                "你会什么",
                "你能做什么",
                "帮助",
                "你可以帮我什么",
                "我能问什么",
                "你懂什么",
                "你有什么用",
                "怎么用你",
                "你会做什么",
                "你的功能是什么",
                "举个例子",
                "能帮我吗",
            ],
        ],
        said: [
            "I work out sums such as 7+4*3 from left to right, say which of two is larger, and \
             make a target from numbers.",
            "我会从左到右计算，比如 7+4*3，会比较大小，也会用几个数凑出目标。",
        ],
    },
];

const BEYOND: [&str; 2] = [
    "That is more than I can do: I am a tiny model for sums. Name a larger one: ruminate chat \
     MODEL",
    "这超出了我的能力：我只是做算式的小模型。请换一个大模型：ruminate chat MODEL",
];

/// What is asked in vain; `{}` is any of the words, `{n}` a number that is too large.
const BEYOND_ASKED: [&[&str]; 2] = [
    &[
        "What is the capital of {}?",
        "Write a poem about {}.",
        "Tell me about {}.",
        "What is {}?",
        "Explain {} to me.",
        "Write a story about {}.",
        "Who invented {}?",
        "How does {} work?",
        "Translate {} into French.",
        "Write code for {}.",
        "Why is {} so important?",
        "What do you think of {}?",
        "Where is {}?",
        "Give me a recipe for {}.",
        "Who is {}?",
        "Write an essay about {}.",
        "Summarise {}.",
        "How do I learn {}?",
        "When did {} begin?",
        "Is {} good or bad?",
        "Sing a song about {}.",
        "Tell me a joke about {}.",
        "Draw {}.",
        "What is {n} times {n}?",
        "What is {n} plus {n}?",
        "{n}+{n}",
        "{n}*{n}",
        "{n}-{n}",
        "{n}/7",
        "What is the square root of {n}?",
        "What is {n} divided by 3?",
        "Is {n} a prime number?",
        "Solve the equation of {}.",
        "Prove that {} is true.",
        "Play {} with me.",
        "What is the weather in {}?",
        "What day is it?",
        "What time is it?",
        "Tell me a joke.",
        "Write a poem.",
        "Write a program.",
        "What is the news?",
        "How old are you?",
        "Do you love me?",
        "What is the meaning of life?",
        "How many people live in {}?",
    ],
    &[
        "{}的首都是哪里？",
        "写一首关于{}的诗。",
        "介绍一下{}。",
        "什么是{}？",
        "给我解释{}。",
        "写一个关于{}的故事。",
        "谁发明了{}？",
        "{}是怎么工作的？",
        "把{}翻译成英文。",
        "写一段{}的代码。",
        "为什么{}很重要？",
        "你怎么看{}？",
        "{}在哪里？",
        "{}怎么做？",
        "{}是谁？",
        "写一篇{}的文章。",
        "总结{}。",
        "怎么学{}？",
        "{}好不好？",
        "唱一首{}的歌。",
        "讲一个{}的笑话。",
        "{n}乘{n}等于几？",
        "{n}加{n}等于多少？",
        "{n}+{n}等于几？",
        "{n}是质数吗？",
        "{n}的平方根是多少？",
        "证明{}。",
        "{}的天气怎么样？",
        "今天星期几？",
        "现在几点？",
        "讲个笑话。",
        "写首诗。",
        "写个程序。",
        "有什么新闻？",
        "你几岁了？",
        "你爱我吗？",
        "人生的意义是什么？",
        "{}有多少人？",
    ],
];

const TOPICS: [&[&str]; 2] = [
    &[
        "France",
        "China",
        "the moon",
        "love",
        "music",
        "history",
        "Python",
        "the sea",
        "a cat",
        "the weather",
        "quantum physics",
        "football",
        "Shakespeare",
        "bread",
        "the sun",
        "Berlin",
        "Japan",
        "a neural network",
        "gravity",
        "chess",
        "winter",
        "Einstein",
        "the internet",
        "coffee",
        "mathematics",
        "a dragon",
        "Spain",
        "dinosaurs",
        "the brain",
        "a tree",
        "Rust",
        "evolution",
        "Brazil",
        "money",
        "soup",
        "the stars",
        "Mozart",
        "a river",
        "philosophy",
    ],
    &[
        "法国",
        "中国",
        "月亮",
        "爱情",
        "音乐",
        "历史",
        "编程",
        "大海",
        "猫",
        "天气",
        "量子力学",
        "足球",
        "李白",
        "面包",
        "太阳",
        "北京",
        "日本",
        "神经网络",
        "重力",
        "围棋",
        "冬天",
        "爱因斯坦",
        "互联网",
        "咖啡",
        "数学",
        "龙",
        "西班牙",
        "恐龙",
        "大脑",
        "树",
        "春天",
        "进化",
        "上海",
        "钱",
        "汤",
        "星星",
    ],
];

/// One in so many is beyond it.
const BEYOND_SHARE: u32 = 3;

pub(crate) fn make(draw: &mut Draw) -> (Problem, String) {
    let language = if draw.below(2) == 0 { Language::English } else { Language::Chinese };
    let at = language as usize;
    let (asked, said) = match draw.below(BEYOND_SHARE) {
        0 => (beyond(at, draw), BEYOND[at]),
        _ => {
            let talk = &TALKS[draw.below(TALKS.len() as u32) as usize];
            (draw.one_of(talk.asked[at]).to_string(), talk.said[at])
        }
    };
    let question = match draw.below(BEYOND_SHARE) {
        0 => asked.clone(),
        _ => dressed(&asked, language, draw),
    };
    let problem = Problem {
        question,
        answer: said.into(),
        said: said.into(),
        verifier: "exact",
        difficulty: 0,
        task: Task::Talk,
        language,
        numbers: Vec::new(),
        thought: None,
    };
    (problem, asked)
}

fn beyond(at: usize, draw: &mut Draw) -> String {
    let form = draw.one_of(BEYOND_ASKED[at]);
    let mut text = form.replace("{}", draw.one_of(TOPICS[at]));
    while text.contains("{n}") {
        let n = draw.within(100, 9999);
        text = text.replacen("{n}", &n.to_string(), 1);
    }
    text
}

/// With a capital letter, a mark at the end, or none, as people write.
fn dressed(asked: &str, language: Language, draw: &mut Draw) -> String {
    let marks: &[&str] = match language {
        Language::English => &["", ".", "!", "?"],
        Language::Chinese => &["", "。", "！", "？"],
    };
    let bare = asked.trim_end_matches(['.', '?', '!', '。', '？', '！']);
    let mut letters = bare.chars();
    let first = letters.next().map(|letter| match draw.below(2) {
        0 => letter.to_uppercase().to_string(),
        _ => letter.to_lowercase().to_string(),
    });
    format!("{}{}{}", first.unwrap_or_default(), letters.as_str(), draw.one_of(marks))
}
