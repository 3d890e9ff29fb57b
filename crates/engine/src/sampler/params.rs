//! Sampling params, and where they come from.
//!
//! Each source is a [`PartialParams`]. What the user says comes before what the model's files say,
//! that before the family's card, and that before the built-in values:
//!
//! ```text
//! user.or(file).or(card.params()).fill(fresh_seed)?
//! ```

use serde_json::Value;

use super::Error;

/// How a token is chosen: plain numbers, checked by [`Params::check`].
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Logits are divided by it; 0 takes the largest logit, the lowest id among equals.
    pub temperature: f32,
    /// Only the k largest logits; 0 for all.
    pub top_k: usize,
    /// The fewest tokens whose probabilities reach it; 1 for all.
    pub top_p: f32,
    /// Tokens at least this many times as probable as the most probable one; 0 for all.
    pub min_p: f32,
    /// Divides positive, multiplies negative logits of tokens seen in prompt or answer; 1 is off.
    pub repetition_penalty: f32,
    /// Taken once from the logit of each generated token; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logit of a token as often as it was generated; 0 is off.
    pub frequency_penalty: f32,
    pub seed: u64,
}

/// Below this, division by the temperature only loses bits.
const GREEDY_BELOW: f32 = 1e-6;

impl Params {
    /// Names the first field that is out of its range, or not a number.
    pub fn check(&self) -> Result<(), Error> {
        let fields = [
            ("temperature", self.temperature, 0.0..=100.0, "0 to 100"),
            ("top_p", self.top_p, 0.0..=1.0, "0 to 1"),
            ("min_p", self.min_p, 0.0..=1.0, "0 to 1"),
            ("repetition_penalty", self.repetition_penalty, 0.01..=100.0, "0.01 to 100"),
            ("presence_penalty", self.presence_penalty, -2.0..=2.0, "-2 to 2"),
            ("frequency_penalty", self.frequency_penalty, -2.0..=2.0, "-2 to 2"),
        ];
        for (field, found, allowed, range) in fields {
            if !allowed.contains(&found) {
                return Err(Error::OutOfRange { field, found, range });
            }
        }
        Ok(())
    }

    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW
    }

    pub(super) fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}

/// [`Params`] of which any may be left to the next source.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartialParams {
    pub temperature: Option<f32>,
    pub top_k: Option<usize>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<u64>,
}

impl PartialParams {
    /// These, and where they are silent, those of `next`.
    pub fn or(self, next: PartialParams) -> PartialParams {
        PartialParams {
            temperature: self.temperature.or(next.temperature),
            top_k: self.top_k.or(next.top_k),
            top_p: self.top_p.or(next.top_p),
            min_p: self.min_p.or(next.min_p),
            repetition_penalty: self.repetition_penalty.or(next.repetition_penalty),
            presence_penalty: self.presence_penalty.or(next.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(next.frequency_penalty),
            seed: self.seed.or(next.seed),
        }
    }

    /// Checked params, with built-in values for what is still open: temperature 0.6 and top-p 0.95,
    /// which the cards of most reasoning models agree on, and `fresh_seed`.
    pub fn fill(self, fresh_seed: u64) -> Result<Params, Error> {
        let params = Params {
            temperature: self.temperature.unwrap_or(0.6),
            top_k: self.top_k.unwrap_or(0),
            top_p: self.top_p.unwrap_or(0.95),
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            seed: self.seed.unwrap_or(fresh_seed),
        };
        params.check()?;
        Ok(params)
    }

    /// What a parsed `generation_config.json` says of sampling, in range; null and -1 for top_k
    /// are silence and 0. `do_sample` and the stop tokens are not looked at.
    pub fn from_generation_config(config: &Value) -> Result<PartialParams, Error> {
        let number = |key| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(found) => match found.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(unexpected(key, found, "a number")),
            },
        };
        PartialParams {
            temperature: number("temperature")?.map(|x| x as f32),
            top_k: number("top_k")?.map(|x| count("top_k", x)).transpose()?,
            top_p: number("top_p")?.map(|x| x as f32),
            min_p: number("min_p")?.map(|x| x as f32),
            repetition_penalty: number("repetition_penalty")?.map(|x| x as f32),
            presence_penalty: number("presence_penalty")?.map(|x| x as f32),
            frequency_penalty: number("frequency_penalty")?.map(|x| x as f32),
            seed: None,
        }
        .checked()
    }

    /// What the `general.sampling.*` keys of a GGUF file say, in range; `number` looks up a key of
    /// any numeric type.
    pub fn from_gguf(number: impl Fn(&str) -> Option<f64>) -> Result<PartialParams, Error> {
        let top_k = "general.sampling.top_k";
        PartialParams {
            temperature: number("general.sampling.temp").map(|x| x as f32),
            top_k: number(top_k).map(|x| count(top_k, x)).transpose()?,
            top_p: number("general.sampling.top_p").map(|x| x as f32),
            min_p: number("general.sampling.min_p").map(|x| x as f32),
            repetition_penalty: number("general.sampling.penalty_repeat").map(|x| x as f32),
            ..PartialParams::default()
        }
        .checked()
    }

    fn checked(self) -> Result<PartialParams, Error> {
        self.fill(0)?;
        Ok(self)
    }
}

/// A number that is a count; -1 is 0, as some files write "all".
fn count(key: &'static str, number: f64) -> Result<usize, Error> {
    if number == -1.0 {
        return Ok(0);
    }
    if number.fract() != 0.0 || !(0.0..=1e9).contains(&number) {
        return Err(unexpected(key, &number.into(), "a count"));
    }
    Ok(number as usize)
}

fn unexpected(key: &'static str, found: &Value, expected: &'static str) -> Error {
    // A hostile file may say anything at any length.
    let found = found.to_string().chars().take(40).collect();
    Error::Unexpected { key, found, expected }
}

/// A recommendation on a model's card, for files that say nothing of sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// QwQ-32B; never greedy, which repeats without end.
    Qwq,
    /// DeepSeek-R1 and its distills.
    DeepseekR1,
    /// Qwen3 while it thinks.
    Qwen3Thinking,
    /// Qwen3 with thinking off. Its `generation_config.json` has the values for thinking, so this
    /// card goes before the file.
    Qwen3Plain,
}

impl Card {
    pub fn params(self) -> PartialParams {
        let (temperature, top_p, top_k, min_p) = match self {
            Card::Qwq => (0.6, 0.95, Some(40), Some(0.0)),
            Card::DeepseekR1 => (0.6, 0.95, None, None),
            Card::Qwen3Thinking => (0.6, 0.95, Some(20), Some(0.0)),
            Card::Qwen3Plain => (0.7, 0.8, Some(20), Some(0.0)),
        };
        PartialParams {
            temperature: Some(temperature),
            top_p: Some(top_p),
            top_k,
            min_p,
            ..PartialParams::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn built_in() -> Params {
        PartialParams::default().fill(7).unwrap()
    }

    #[test]
    fn the_user_comes_before_the_file_and_the_file_before_the_card() {
        let user = PartialParams { temperature: Some(0.0), ..PartialParams::default() };
        let file = PartialParams::from_generation_config(&json!({"temperature": 0.9, "top_k": 30}))
            .unwrap();
        let params = user.or(file).or(Card::Qwen3Plain.params()).fill(7).unwrap();
        let expected = Params { temperature: 0.0, top_k: 30, top_p: 0.8, ..built_in() };
        assert_eq!(params, expected);
    }

    #[test]
    fn a_seed_is_fresh_unless_the_user_gave_one() {
        assert_eq!(built_in().seed, 7);
        let user = PartialParams { seed: Some(11), ..PartialParams::default() };
        assert_eq!(user.fill(7).unwrap().seed, 11);
    }

    #[test]
    fn a_generation_config_is_read_for_what_it_says() {
        let qwq = json!({
            "bos_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
            "repetition_penalty": 1.0, "temperature": 0.6, "top_k": 40, "top_p": 0.95,
            "transformers_version": "4.45.2", "min_p": null
        });
        let found = PartialParams::from_generation_config(&qwq).unwrap();
        let expected = PartialParams {
            repetition_penalty: Some(1.0),
            temperature: Some(0.6),
            top_k: Some(40),
            top_p: Some(0.95),
            ..PartialParams::default()
        };
        assert_eq!(found, expected);
        for silent in [json!({}), json!([]), json!("text")] {
            let found = PartialParams::from_generation_config(&silent).unwrap();
            assert_eq!(found, PartialParams::default());
        }
        let all = PartialParams::from_generation_config(&json!({"top_k": -1})).unwrap();
        assert_eq!(all.top_k, Some(0));
    }

    #[test]
    fn a_bad_generation_config_names_the_key() {
        let cases = [
            (json!({"temperature": "hot"}), r#"temperature is "hot"; expected a number"#),
            (json!({"top_k": 2.5}), "top_k is 2.5; expected a count"),
            (json!({"top_k": -2}), "top_k is -2.0; expected a count"),
            (json!({"top_p": 1.5}), "top_p is 1.5; it must be 0 to 1"),
            (json!({"temperature": 1e300}), "temperature is inf; it must be 0 to 100"),
        ];
        for (config, message) in cases {
            let error = PartialParams::from_generation_config(&config).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn gguf_keys_are_read_for_what_they_say() {
        let keys = |key: &str| match key {
            "general.sampling.temp" => Some(0.6),
            "general.sampling.top_k" => Some(20.0),
            "general.sampling.penalty_repeat" => Some(1.05),
            _ => None,
        };
        let expected = PartialParams {
            temperature: Some(0.6),
            top_k: Some(20),
            repetition_penalty: Some(1.05),
            ..PartialParams::default()
        };
        assert_eq!(PartialParams::from_gguf(keys).unwrap(), expected);
        let error = PartialParams::from_gguf(|_| Some(-0.5)).unwrap_err();
        assert_eq!(error.to_string(), "general.sampling.top_k is -0.5; expected a count");
    }

    #[test]
    fn every_range_is_checked_and_named() {
        let good = built_in();
        let cases = [
            (
                Params { temperature: -0.1, ..good.clone() },
                "temperature is -0.1; it must be 0 to 100",
            ),
            (
                Params { temperature: f32::NAN, ..good.clone() },
                "temperature is NaN; it must be 0 to 100",
            ),
            (Params { top_p: -1.0, ..good.clone() }, "top_p is -1; it must be 0 to 1"),
            (Params { min_p: 1.1, ..good.clone() }, "min_p is 1.1; it must be 0 to 1"),
            (
                Params { repetition_penalty: 0.0, ..good.clone() },
                "repetition_penalty is 0; it must be 0.01 to 100",
            ),
            (
                Params { presence_penalty: 3.0, ..good.clone() },
                "presence_penalty is 3; it must be -2 to 2",
            ),
            (
                Params { frequency_penalty: f32::INFINITY, ..good.clone() },
                "frequency_penalty is inf; it must be -2 to 2",
            ),
        ];
        assert_eq!(good.check(), Ok(()));
        for (params, message) in cases {
            assert_eq!(params.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn every_card_is_in_range() {
        for card in [Card::Qwq, Card::DeepseekR1, Card::Qwen3Thinking, Card::Qwen3Plain] {
            card.params().fill(0).unwrap();
        }
    }
}
