//! What is wrong is named, before anything was trained or at the step where it goes wrong.

use super::school::{School, open, open_sft};

#[test]
fn a_known_good_answer_that_scores_nothing_ends_it_before_training() {
    let school = School::new();
    let more = "[reward]\nverifier = \"exact\"\nknown_good = \"about {}\"\n";
    let error = open(&school.config("llama", "a", more)).err().unwrap();
    assert!(error.starts_with("row 1: the verifier exact scores a known-good answer 0"), "{error}");
    assert!(error.contains("\"about 0\"") && !error.contains('\n'), "{error}");
    assert!(open(&school.config("llama", "a", "[reward]\nverifier = \"exact\"\n")).is_ok());
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_numbers() {
    let school = School::new();
    let config = school.config("llama", "a", "memory_bytes = 1000000\n");
    let error = open(&config).err().unwrap();
    assert!(error.starts_with("training needs ") && error.contains("gradients "), "{error}");
    assert!(error.ends_with("and 976.6 KiB is available"), "{error}");
}

#[test]
fn lengths_that_can_not_be_are_named() {
    let school = School::new();
    let error = open(&school.config("llama", "a", "[train]\ntokens_max = 1000\n")).err().unwrap();
    assert_eq!(error, "train.tokens_max is 1000, and the model was made for at most 256");
    let error = open(&school.config("llama", "a", "[train]\ntokens_max = 12\n")).err().unwrap();
    assert!(error.contains("no room for a prompt"), "{error}");
    let error = open(&school.config("llama", "a", "[train]\ntokens_max = 13\n")).err().unwrap();
    assert_eq!(error, "no row fits into train.tokens_max = 13: 12 are longer");
    let error = open_sft(&school.config("llama", "a", "[train]\ntokens_max = 3\n")).err().unwrap();
    assert_eq!(error, "no row fits into train.tokens_max = 3: 12 are longer");
}

#[test]
fn a_loss_that_is_not_finite_names_its_step_and_keeps_the_checkpoint() {
    let school = School::new();
    let config = school.config("llama", "a", "");
    let mut sft = open_sft(&config).unwrap();
    sft.step().unwrap();
    sft.save().unwrap();
    let digest = sft.trainee.digest();
    let mut values = sft.trainee.values();
    values.iter_mut().for_each(|values| values.fill(f32::NAN));
    sft.trainee.set_values(&values);
    let error = sft.step().unwrap_err().to_string();
    let expected = "step 2: the loss is not finite; the checkpoint of step 1 stays the last";
    assert_eq!(error, expected);
    drop(sft);
    let mut sft = open_sft(&config).unwrap();
    assert_eq!((sft.steps_done(), sft.trainee.digest()), (1, digest));
}

#[test]
fn broken_rows_and_missing_columns_are_named() {
    let school = School::new();
    std::fs::write(school.path("rows.jsonl"), "{\"prompt\": \"a\", \"answer\": 1}\nno\n{}\n")
        .unwrap();
    let error = open(&school.config("llama", "a", "")).err().unwrap();
    assert!(error.contains("rows.jsonl: line 2: not JSON"), "{error}");
    assert!(error.ends_with("; broken too: 3"), "{error}");
    std::fs::write(school.path("rows.jsonl"), "{\"text\": \"a\"}\n").unwrap();
    let error = open(&school.config("llama", "a", "")).err().unwrap();
    assert!(error.contains("line 1: no column for the question (prompt, "), "{error}");
}
