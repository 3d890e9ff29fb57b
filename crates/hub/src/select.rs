//! Which files of a repository make the model: pure functions over names.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// DeepSeek-V3's index, with 91 991 tensors, has 9 MB.
pub(crate) const INDEX_BYTES_MAX: u64 = 64 << 20;
const SINGLE: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const PATH_LEN_MAX: usize = 1024;
const PART_LEN_MAX: usize = 255;
/// How many names a message lists.
const SHOWN_MAX: usize = 12;

/// The order of preference where nobody named a quantisation: four bits with little loss, then
/// what every machine has a kernel for, then the rest by size.
const PREFERRED: [&str; 20] = [
    "Q4_K_M", "Q4_0", "Q8_0", "Q4_K_S", "Q4_1", "IQ4_XS", "IQ4_NL", "Q5_K_M", "Q5_K_S", "Q5_0",
    "Q5_1", "Q6_K", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "BF16", "F16", "FP16", "F32",
];

/// The files of a model, in the order they are to be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Small files, the index of the weights among them.
    pub(crate) companions: Vec<String>,
    pub(crate) weights: Weights,
    /// The quantisation that was asked for, or that the order of preference chose.
    pub(crate) quant: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    Files(Vec<String>),
    /// The files that `INDEX` names.
    Indexed,
}

/// Whether a model may need this file. Code and pickles never pass.
pub(crate) fn is_wanted(path: &str) -> bool {
    path.ends_with(".gguf") || path.ends_with(".safetensors") || is_companion(path)
}

/// Whether a server's name for a file is a plain relative path: no part is empty or begins with
/// a dot, and nothing in it has a meaning to a file system or a terminal.
pub(crate) fn is_plain(path: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.len() <= PART_LEN_MAX;
    path.len() <= PATH_LEN_MAX
        && path.split('/').all(part)
        && !path.contains(|c: char| c.is_control() || c == '\\' || c == ':')
}

/// Chooses among the files of a repository: the safetensors if there are any and no quantisation
/// is asked for, one GGUF else. The error is a reason in words.
pub(crate) fn choose(listed: &[String], quant: Option<&str>) -> Result<Choice, String> {
    let has = |name: &str| listed.iter().any(|file| file == name);
    if quant.is_none() && has(CONFIG) && (has(INDEX) || has(SINGLE)) {
        let companions = listed.iter().filter(|file| is_companion(file)).cloned();
        let weights = match has(INDEX) {
            true => Weights::Indexed,
            false => Weights::Files(vec![SINGLE.to_owned()]),
        };
        return Ok(Choice { companions: companions.collect(), weights, quant: None });
    }
    let (quant, files) = choose_gguf(listed, quant)?;
    // A GGUF carries its configuration, tokenizer and template, but not how to sample.
    let companions = listed.iter().filter(|file| *file == GENERATION).cloned().collect();
    Ok(Choice { companions, weights: Weights::Files(files), quant })
}

/// The files that an index names, sorted. All of them are among `listed`.
pub(crate) fn indexed(index: &[u8], listed: &[String]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|e| format!("{INDEX}: {e}"))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if files.is_empty() {
        return Err(format!("{INDEX} names no file"));
    }
    match files.iter().find(|file| !file.ends_with(".safetensors") || !listed.contains(file)) {
        Some(file) => Err(format!("{INDEX} names {file:?}, which isn't there")),
        None => Ok(files.into_iter().collect()),
    }
}

fn is_companion(path: &str) -> bool {
    if path.contains('/') {
        return false;
    }
    let json = path.ends_with(".json");
    [INDEX, CONFIG, GENERATION].contains(&path)
        || json && (path.starts_with("tokenizer") || path.starts_with("chat_template"))
        || path.ends_with(".jinja")
}

fn choose_gguf(
    listed: &[String],
    quant: Option<&str>,
) -> Result<(Option<String>, Vec<String>), String> {
    let (whole, torn) = gguf_sets(listed);
    if whole.is_empty() {
        return Err(match torn.first() {
            Some(stem) => format!("some of the files {stem}-….gguf are missing"),
            None if quant.is_some() => "it has no GGUF file".to_owned(),
            None => nothing_to_read(listed),
        });
    }
    let labels = match &quant {
        Some(quant) => vec![*quant],
        None => PREFERRED.to_vec(),
    };
    for label in labels {
        let mut found: Vec<_> = whole.iter().filter(|(stem, _)| has_label(stem, label)).collect();
        // `model-Q4_K_M` before `model-UD-Q4_K_M`: the plainest name is what the label means.
        found.sort_by_key(|(stem, _)| (stem.len(), stem.as_str()));
        if let Some((_, files)) = found.first() {
            return Ok((Some(label.to_owned()), files.to_vec()));
        }
    }
    let n_more = whole.len().saturating_sub(SHOWN_MAX);
    let mut shown: Vec<_> = whole.keys().take(SHOWN_MAX).map(String::as_str).collect();
    let more = format!("{n_more} more");
    if n_more > 0 {
        shown.push(&more);
    }
    let shown = shown.join(", ");
    match quant {
        Some(quant) => Err(format!("it has no GGUF file of {quant}. It has: {shown}")),
        None if whole.len() == 1 => {
            Ok((None, whole.into_values().next().expect("there is one set")))
        }
        None => Err(format!("say which GGUF, as org/repo:NAME. It has: {shown}")),
    }
}

/// The GGUF models of a repository, by their path without `-00001-of-00003.gguf`: those whose
/// files are all there, sorted, and the names of those where some are missing.
fn gguf_sets(listed: &[String]) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let mut sets = BTreeMap::<(&str, u32), BTreeMap<u32, &String>>::new();
    for file in listed {
        let Some(stem) = file.strip_suffix(".gguf") else { continue };
        let base = stem.rsplit('/').next().unwrap_or(stem).to_ascii_lowercase();
        // Vision towers and importance matrices are GGUF too, and no language model.
        if base.contains("mmproj") || base.contains("imatrix") {
            continue;
        }
        let (stem, part, n_parts) = split_of(stem).unwrap_or((stem, 1, 1));
        sets.entry((stem, n_parts)).or_default().insert(part, file);
    }
    let mut whole = BTreeMap::new();
    let mut torn = Vec::new();
    for ((stem, n_parts), parts) in sets {
        if parts.keys().copied().eq(1..=n_parts) {
            whole.insert(stem.to_owned(), parts.into_values().cloned().collect());
        } else {
            torn.push(stem.to_owned());
        }
    }
    (whole, torn)
}

/// `model-00002-of-00003` is part 2 of 3 of `model`.
fn split_of(stem: &str) -> Option<(&str, u32, u32)> {
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|c| c.is_ascii_digit());
    let (rest, n_parts) = stem.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let numbers = digits(part) && digits(n_parts);
    numbers.then_some((stem, part.parse().ok()?, n_parts.parse().ok()?))
}

/// Whether a label stands in a path as a word: `Q4_K` is not in `model-Q4_K_M`.
fn has_label(stem: &str, label: &str) -> bool {
    let (stem, label) = (stem.to_ascii_lowercase(), label.to_ascii_lowercase());
    stem.match_indices(&label).any(|(at, _)| {
        let before = stem[..at].chars().next_back();
        let after = stem[at + label.len()..].chars().next();
        before.is_none_or(|c| "-._/".contains(c)) && after.is_none_or(|c| "-./".contains(c))
    })
}

fn nothing_to_read(listed: &[String]) -> String {
    let pickles = [".bin", ".pt", ".pth", ".ckpt"];
    if listed.iter().any(|file| pickles.iter().any(|end| file.ends_with(end))) {
        return "its weights are pickles (.bin, .pt), which may hold code and are never read. \
                Look for a copy in safetensors or GGUF"
            .to_owned();
    }
    "it has neither config.json with model.safetensors (or its index) nor a GGUF file".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn gguf(names: &[&str], quant: Option<&str>) -> Result<(Option<String>, Vec<String>), String> {
        choose(&files(names), quant).map(|choice| match choice.weights {
            Weights::Files(files) => (choice.quant, files),
            Weights::Indexed => panic!("an index was chosen"),
        })
    }

    #[test]
    fn a_quantisation_is_found_whatever_its_case_and_place() {
        let cases = [
            (&["m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q4_K.gguf"][..], "q4_k_m", "m-Q4_K_M.gguf"),
            (&["m-q4_k_m.gguf", "m-q4_k.gguf"], "Q4_K", "m-q4_k.gguf"),
            (&["m.Q8_0.gguf", "m.Q8_0_4.gguf"], "Q8_0", "m.Q8_0.gguf"),
            (&["m_iq4_xs.gguf"], "IQ4_XS", "m_iq4_xs.gguf"),
            (&["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "Q4_K_M", "m-Q4_K_M.gguf"),
            (&["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "UD-Q4_K_M", "m-UD-Q4_K_M.gguf"),
            (&["Q2_K/m.gguf", "Q6_K/m.gguf"], "Q6_K", "Q6_K/m.gguf"),
            (&["mmproj-m-Q8_0.gguf", "m-Q8_0.gguf"], "Q8_0", "m-Q8_0.gguf"),
        ];
        for (names, quant, expected) in cases {
            let found = gguf(names, Some(quant)).unwrap();
            assert_eq!(found, (Some(quant.to_owned()), files(&[expected])));
        }
    }

    #[test]
    fn a_split_model_is_all_of_its_files_or_none() {
        let names = [
            "m-Q2_K.gguf",
            "d/m-Q4_K_M-00003-of-00003.gguf",
            "d/m-Q4_K_M-00001-of-00003.gguf",
            "d/m-Q4_K_M-00002-of-00003.gguf",
        ];
        let mut sorted = files(&names[1..]);
        sorted.sort();
        assert_eq!(gguf(&names, Some("Q4_K_M")).unwrap().1, sorted);
        assert_eq!(gguf(&names, None).unwrap(), (Some("Q4_K_M".to_owned()), sorted));
        assert!(gguf(&names[..3], Some("Q4_K_M")).unwrap_err().contains("m-Q2_K"));
        assert!(gguf(&names[1..3], None).unwrap_err().contains("missing"));
    }

    #[test]
    fn without_a_name_the_order_of_preference_decides_and_says_so() {
        let (quant, found) = gguf(&["m-F16.gguf", "m-Q8_0.gguf", "m-Q4_0.gguf"], None).unwrap();
        assert_eq!((quant.as_deref(), found), (Some("Q4_0"), files(&["m-Q4_0.gguf"])));
        assert_eq!(gguf(&["odd.gguf"], None).unwrap(), (None, files(&["odd.gguf"])));
        let reason = gguf(&["odd.gguf", "other.gguf"], None).unwrap_err();
        assert!(reason.contains("odd, other"), "{reason}");
        let reason = gguf(&["m-Q8_0.gguf"], Some("Q4_K_M")).unwrap_err();
        assert!(reason.contains("no GGUF file of Q4_K_M. It has: m-Q8_0"), "{reason}");
    }

    #[test]
    fn safetensors_with_a_config_come_first_and_bring_their_companions_only() {
        let wanted = [
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        let unwanted = [
            "README.md",
            "model.safetensors",
            "m-Q4_K_M.gguf",
            "pytorch_model.bin",
            "model.pt",
            "modeling_x.py",
            "chat_template.py",
            "onnx/config.json",
            "vocab.json",
            "config.json.py",
        ];
        let listed = files(&[&wanted[..], &unwanted[..]].concat());
        let choice = choose(&listed, None).unwrap();
        assert_eq!(choice.companions, files(&wanted));
        assert_eq!(choice.weights, Weights::Files(files(&["model.safetensors"])));
        let choice = choose(&listed, Some("Q4_K_M")).unwrap();
        assert_eq!(choice.companions, files(&["generation_config.json"]));
        let reason = choose(&files(&["config.json", "pytorch_model.bin"]), None).unwrap_err();
        assert!(reason.contains("pickles"), "{reason}");
    }

    #[test]
    fn an_index_names_the_shards_and_may_not_name_anything_else() {
        let listed = files(&["a.safetensors", "b.safetensors", "extra.safetensors", "x.py"]);
        let index = br#"{"metadata":{},"weight_map":{"u":"b.safetensors","v":"a.safetensors"}}"#;
        assert_eq!(indexed(index, &listed).unwrap(), files(&["a.safetensors", "b.safetensors"]));
        for bad in [
            r#"{"weight_map":{}}"#,
            r#"{"weight_map":{"u":"../a.safetensors"}}"#,
            r#"{"weight_map":{"u":"x.py"}}"#,
            r#"{"weight_map":{"u":1}}"#,
            "{}",
            "",
        ] {
            assert!(indexed(bad.as_bytes(), &listed).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_plain_relative_path_is_plain() {
        for path in ["config.json", "Q4_K_M/m-00001-of-00002.gguf", "modèle 7B.gguf"] {
            assert!(is_plain(path), "{path}");
        }
        let long = format!("{}.gguf", "a".repeat(255));
        for path in [
            "",
            "/m.gguf",
            "../m.gguf",
            "a/../m.gguf",
            "a//m.gguf",
            "./m.gguf",
            "a\\..\\m.gguf",
            "C:m.gguf",
            ".git/m.gguf",
            "m\n.gguf",
            "m\u{1b}[2J.gguf",
            "m\0.gguf",
            "a/",
            &long,
        ] {
            assert!(!is_plain(path), "{path:?}");
        }
    }
}
