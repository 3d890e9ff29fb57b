//! What training is for: examples are learned, rewards grow, and the model can be used.

use std::path::Path;

use ruminate_train::config::Config;
use ruminate_train::screen::screen;
use ruminate_train::sft::Sft;

use super::school::{School, fixture, launcher, open, open_sft, watched};

/// Learns twelve sums by heart, from nothing.
fn by_heart(school: &School, out: &str) -> Config {
    let tokenizer = fixture("llama").display().to_string();
    let model = format!(
        "tokenizer = {tokenizer:?}, scratch = {{ seed = 3, config = {{ \
         architectures = [\"LlamaForCausalLM\"], model_type = \"llama\", vocab_size = 320, \
         hidden_size = 32, intermediate_size = 64, num_hidden_layers = 2, \
         num_attention_heads = 4, num_key_value_heads = 2, max_position_embeddings = 128, \
         rms_norm_eps = 1e-6, tie_word_embeddings = true }} }}"
    );
    let more = "[train]\nsteps = 60\nrows = 12\n[optimizer]\nrate = 1e-2\n";
    school.parse(&model, out, more)
}

#[test]
fn a_model_from_scratch_learns_by_heart_and_is_written_as_a_folder_that_loads() {
    let school = School::new();
    let config = by_heart(&school, "sft");
    let mut sft = open_sft(&config).unwrap();
    let first = sft.step().unwrap().get("loss").unwrap();
    let (ran, notes) = watched(|watch| sft.run(watch));
    ran.unwrap();
    assert_eq!(sft.steps_done(), 60);
    let digest = sft.trainee.digest();
    assert!(notes.iter().any(|note| note.contains(&digest)), "{notes:?}");
    let last = {
        // A step more says what the loss has come to.
        sft.step().unwrap().get("loss").unwrap()
    };
    assert!(last < first / 4.0, "{first} became {last}");

    let model = school.path("sft/model");
    let more = "[reward]\nverifier = \"exact\"\n[rollout]\ntemperature = 0.1\n";
    let config = school.parse(&format!("start = {model:?}"), "rl", more);
    let mut rl = open(&config).unwrap();
    assert_eq!(rl.trainee.digest(), digest, "the same weights");
    let groups = rl.write_groups(12).unwrap();
    let right: usize = groups.iter().map(|group| group.n_right()).sum();
    assert!(right >= 12 * 4 / 2, "{right} of 48 are right");
}

#[test]
fn rewards_grow() {
    let school = School::new();
    let more = "[train]\nsteps = 1\n[rollout]\nprompts = 8\nsamples = 8\ntogether = 64\n\
                [optimizer]\nrate = 3e-3\n";
    let mut rl = open(&school.config("llama", "a", more)).unwrap();
    let rewards: Vec<f64> = (0..25)
        .map(|_| {
            // Of all groups, dead ones too: those that are trained on are half right by design.
            let groups = rl.write_groups(6).unwrap();
            let n: usize = groups.iter().map(|group| group.samples.len()).sum();
            let right: usize = groups.iter().map(|group| group.n_right()).sum();
            rl.step().unwrap();
            right as f64 / n as f64
        })
        .collect();
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len() as f64;
    let (before, after) = (mean(&rewards[..5]), mean(&rewards[20..]));
    assert!(after > before + 0.15, "{before} became {after}: {rewards:?}");
}

#[test]
fn accuracy_is_told_by_difficulty_of_all_that_was_written() {
    let school = School::new();
    let row = |i: usize| {
        format!("{{\"prompt\": \"{i} + {i}\", \"answer\": \"0\", \"difficulty\": {}}}\n", i % 3)
    };
    std::fs::write(school.path("rows.jsonl"), (0..12).map(row).collect::<String>()).unwrap();
    let more = "[rollout]\nprompts = 6\ndynamic_batches_max = 1\n";
    let mut rl = open(&school.config("llama", "a", more)).unwrap();
    let report = rl.step().unwrap();
    let right = |name: &str| report.get(name).unwrap();
    // Six rows in a row of a shuffled dozen need not have every difficulty.
    let by: Vec<f64> =
        (0..3).filter_map(|d| report.get(&format!("right/difficulty {d}"))).collect();
    assert!(by.len() >= 2, "{:?}", report.numbers);
    let (least, most) =
        (by.iter().copied().fold(1.0, f64::min), by.iter().copied().fold(0.0, f64::max));
    assert!(least <= right("right") && right("right") <= most, "{:?}", report.numbers);
    assert_eq!(right("right"), right("reward"), "a right answer is worth 1, a wrong one 0");
    assert!(report.samples.iter().all(|sample| sample.difficulty.is_some() && sample.n_tokens > 0));
}

#[test]
fn a_gguf_file_is_trained_with_its_own_words_and_written_as_a_folder() {
    let school = School::new();
    let file = school.path("a.gguf");
    let options = convert::Options {
        target: convert::Target::from_name("q8_0").unwrap(),
        head: None,
        replace: false,
    };
    let pool = par::Pool::new(1);
    let quiet = &|_, _| ();
    convert::quantize(&fixture("qwen3"), Path::new(&file), &options, &pool, quiet).unwrap();
    let mut sft = open_sft(&school.parse(&format!("start = {file:?}"), "a", "")).unwrap();
    let (ran, _) = watched(|watch| sft.run(watch));
    ran.unwrap();
    let model = school.path("a/model");
    let again = open_sft(&school.parse(&format!("start = {model:?}"), "b", "")).unwrap();
    let ask = |sft: &Sft, text: &str| sft.trainee.prompts.answer(text, false).unwrap();
    for text in ["2 + 2 = 4", "<think>\nhm</think>\n\n4"] {
        assert_eq!(ask(&sft, text), ask(&again, text), "{text}");
    }
    assert_eq!(sft.trainee.prompts.stops(), again.trainee.prompts.stops());
}

#[test]
fn a_screen_tells_what_could_be_learned() {
    let school = School::new();
    let config = school.config("llama", "a", "");
    let (screened, _) = watched(|watch| screen(&config, &launcher(), 6, watch));
    let screened = screened.unwrap();
    assert_eq!((screened.all.n_groups, screened.all.n_samples), (6, 24));
    let lines = screened.lines();
    assert!(lines[0].contains("pass@4") && lines[1].starts_with("all "), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("memory: ")), "{lines:?}");
}

#[test]
fn adapters_are_written_beside_the_model_that_they_are_merged_into() {
    let school = School::new();
    let more = "[model]\nadapters = { rank = 4 }\n[optimizer]\nrate = 1e-2\n";
    let config = school.config("qwen3", "a", more);
    let mut sft = open_sft(&config).unwrap();
    let (ran, _) = watched(|watch| sft.run(watch));
    ran.unwrap();
    let adapter = school.path("a/model/adapter/adapter_config.json");
    let adapter = std::fs::read_to_string(adapter).unwrap();
    assert!(adapter.contains("\"r\": 4") && adapter.contains("q_proj"), "{adapter}");
    // The merged model answers nearly as the adapters do.
    let loss = sft.step().unwrap().get("loss").unwrap();
    let model = school.path("a/model");
    let merged = school.parse(&format!("start = {model:?}"), "b", "");
    let start = school.config("qwen3", "c", "");
    let of = |config: &Config| open_sft(config).unwrap().step().unwrap().get("loss").unwrap();
    let (merged, start) = (of(&merged), of(&start));
    assert!(loss < start, "{loss} {start}");
    assert!(merged < start, "{merged} {start}");
}
