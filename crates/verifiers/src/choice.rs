//! Multiple choice: one letter from A to J, in the ways people write it.

use crate::extract::{self, Found};
use crate::{Score, Task, Verifier, after_thinking};

/// Reads `answer`, a letter written in any of the ways that a prediction may be. A prediction that
/// names two letters is wrong.
pub struct Choice;

impl Verifier for Choice {
    fn name(&self) -> &'static str {
        "choice"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let Ok(gold) = letter(&task.answer) else {
            return Score::wrong("the answer is no choice");
        };
        match letter(completion) {
            Ok(found) if found == gold => Score::right("equal"),
            Ok(_) => Score::wrong("different"),
            Err(fault) => Score::wrong(fault),
        }
    }
}

/// The letter that a completion settles on.
fn letter(completion: &str) -> Result<char, &'static str> {
    let said = after_thinking(completion);
    if let Some(value) = json_answer(said) {
        return only(value);
    }
    match extract::answer(completion)? {
        Found::Marked(text) | Found::Stated(text) => only(text),
        // A whole line must be a choice: the first letter of a sentence is none.
        Found::Ending(line) => only(line),
    }
}

/// The string after the last `"answer":`.
fn json_answer(text: &str) -> Option<&str> {
    let key = "\"answer\"";
    let rest = text[text.rfind(key)? + key.len()..].trim_start().strip_prefix(':')?;
    let value = rest.trim_start().strip_prefix('"')?;
    Some(&value[..value.find('"')?])
}

/// The one choice in `text`, which must begin with it.
fn only(text: &str) -> Result<char, &'static str> {
    let words = words(text);
    let lead = |word: &&str| matches!(word.to_ascii_lowercase().as_str(), "option" | "choice");
    let mut words = words.iter().skip_while(|word| lead(word)).peekable();
    let first = words.next().and_then(|word| choice(word));
    let Some(first) = first.filter(|c| c.is_ascii_uppercase() || words.peek().is_none()) else {
        return Err("no choice");
    };
    let first = first.to_ascii_uppercase();
    // "A cat" and "I think" begin with a word, not with a choice.
    let is_word = matches!(first, 'A' | 'I')
        && text.trim_start().as_bytes().get(1) == Some(&b' ')
        && words.peek().is_some_and(|next| next.starts_with(char::is_lowercase));
    if is_word {
        return Err("no choice");
    }
    let others = words.filter_map(|word| choice(word)).filter(|c| c.is_ascii_uppercase());
    if others.into_iter().any(|c| c != first) {
        return Err("more than one choice");
    }
    Ok(first)
}

fn choice(word: &str) -> Option<char> {
    let mut chars = word.chars();
    let c = chars.next().filter(|c| matches!(c, 'A'..='J' | 'a'..='j'))?;
    chars.next().is_none().then_some(c)
}

/// The words of `text`, without the names of LaTeX commands.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split(|c: char| !(c.is_alphanumeric() || c == '\\')) {
        // In `\text{C}` the command is one piece, in `\boxedC` there is no telling.
        let word = word.rfind('\\').map_or(word, |_| "");
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_in_the_ways_people_write_it() {
        let right = [
            r"\boxed{C}",
            r"\boxed{\text{C}}",
            r"\boxed{(C)}",
            r"\boxed{\textbf{(C)}}",
            "C",
            "(C)",
            "c",
            "(c)",
            "C.",
            "C)",
            "**C**",
            "[C]",
            "The answer is C.",
            "The answer is (C) Paris.",
            "the correct answer is **C**",
            "Answer: C",
            "Answer: C) Paris",
            "**Answer:** C",
            "The answer is option C",
            "The answer is C because it is blue",
            "Therefore\n\n(C)",
            r#"{"answer": "C"}"#,
            "```json\n{\"answer\": \"C\"}\n```",
            "<answer>C</answer>",
            "<think>(B)</think>(C)",
            r"\boxed{A} no: \boxed{C}",
            r"\boxed{C. 12}",
            "Final answer: C",
            r"The answer is $\boxed{\mathrm{C}}$.",
            r"The answer is $C$.",
        ];
        for completion in right {
            let score = Choice.score(&Task::with_answer("C"), completion);
            assert_eq!((score.value, &*score.why), (1.0, "equal"), "{completion:?}");
        }
    }

    #[test]
    fn a_sentence_a_hedge_and_a_number_are_no_choice() {
        let cases = [
            (r"\boxed{B}", "different"),
            (r"\boxed{A, C}", "more than one choice"),
            ("The answer is C or D", "more than one choice"),
            ("The answer is (A) or (C)", "more than one choice"),
            ("I think so", "no choice"),
            ("The answer is A cat", "no choice"),
            ("Cats", "no choice"),
            (r"\boxed{3}", "no choice"),
            (r"\boxed{K}", "no choice"),
            ("<think>C</think>", "nothing was said"),
            (r"\boxed{C", "unclosed box"),
            (r#"{"answer": "C and D"}"#, "more than one choice"),
        ];
        for (completion, why) in cases {
            let score = Choice.score(&Task::with_answer("(C)"), completion);
            assert_eq!((score.value, &*score.why), (0.0, why), "{completion:?}");
        }
        assert_eq!(Choice.score(&Task::with_answer("7"), "C").why, "the answer is no choice");
    }
}
