//! What a user chose, by the environment that Python's `huggingface_hub` reads.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;

const ENDPOINT: &str = "https://huggingface.co";

/// Settings of a `Hub`. Tests build it, `from_env` reads it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with `models--org--repo` in it.
    pub cache: PathBuf,
    /// Scheme, host, port and an optional path prefix.
    pub endpoint: String,
    pub token: Option<Token>,
    /// Use the cache and no network.
    pub offline: bool,
    pub proxy: Option<ureq::Proxy>,
}

impl Options {
    /// Reads `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH` and the token file, `HF_HUB_OFFLINE`, and the proxy variables.
    ///
    /// This is the only place of the crate that looks at the environment.
    ///
    /// # Errors
    /// `Error::Setting` names the variable that can't be used; `Error::Io` a token file that is
    /// there and can't be read.
    pub fn from_env() -> Result<Self, Error> {
        let proxy = ureq::Proxy::try_from_env();
        Ok(Self { proxy, ..Self::lookup(|key| std::env::var(key).ok())? })
    }

    fn lookup(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |key: &str| get(key).filter(|value| !value.trim().is_empty());
        let user = get("HOME").map(PathBuf::from);
        let path = |key: &str| get(key).map(|value| expand(&value, user.as_deref()));
        let home = match (path("HF_HOME"), path("XDG_CACHE_HOME"), &user) {
            (Some(home), _, _) => Some(home),
            (None, Some(xdg), _) => Some(xdg.join("huggingface")),
            (None, None, Some(user)) => Some(user.join(".cache/huggingface")),
            (None, None, None) => None,
        };
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| home.as_ref().map(|home| home.join("hub")))
            .ok_or(Error::Setting { key: "HF_HOME", reason: "is not set, and neither is HOME" })?;
        let token = match get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")) {
            Some(text) => Some(Token::new(&text)?),
            None => match path("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token"))) {
                Some(path) => Token::load(&path)?,
                None => None,
            },
        };
        let is_true = |key: &str| {
            get(key).is_some_and(|value| {
                ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
            })
        };
        let offline = match get("HF_HUB_OFFLINE") {
            Some(_) => is_true("HF_HUB_OFFLINE"),
            None => is_true("TRANSFORMERS_OFFLINE"),
        };
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Ok(Self { cache, endpoint, token, offline, proxy: None })
    }
}

/// A secret that is sent to the endpoint, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// # Errors
    /// `Error::Setting` if the text can't stand in a header. The message doesn't repeat it.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(Error::Setting { key: "HF_TOKEN", reason: "is not a token" });
        }
        Ok(Self(text.to_owned()))
    }

    /// The token in a file; none if there is no such file, or nothing in it.
    fn load(path: &Path) -> Result<Option<Self>, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Self::new(&text).map(Some),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::Io { doing: "read the token in", path: path.into(), cause }),
        }
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A leading `~/` is the user's home, as in Python.
fn expand(path: &str, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), user) {
        (Some(rest), Some(user)) => user.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)]) -> Result<Options, Error> {
        Options::lookup(|key| {
            vars.iter().find(|(k, _)| *k == key).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_python_looks_for_it() {
        let home = ("HOME", "/h");
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[home], "/h/.cache/huggingface/hub"),
            (&[home, ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[home, ("HF_HOME", "/f"), ("XDG_CACHE_HOME", "/x")], "/f/hub"),
            (&[home, ("HF_HOME", "~/f")], "/h/f/hub"),
            (&[home, ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
            (&[home, ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/f")], "/old"),
            (&[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/c"),
        ];
        for (vars, cache) in cases {
            assert_eq!(options(vars).unwrap().cache, Path::new(cache), "{vars:?}");
        }
        assert!(matches!(options(&[]), Err(Error::Setting { key: "HF_HOME", .. })));
    }

    #[test]
    fn the_offline_switch_takes_pythons_spellings() {
        for (value, offline) in
            [("1", true), ("true", true), ("Yes", true), ("ON", true), ("0", false), ("x", false)]
        {
            let vars = [("HOME", "/h"), ("HF_HUB_OFFLINE", value)];
            assert_eq!(options(&vars).unwrap().offline, offline, "{value}");
        }
        assert!(options(&[("HOME", "/h"), ("TRANSFORMERS_OFFLINE", "1")]).unwrap().offline);
        let vars = [("HOME", "/h"), ("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")];
        assert!(!options(&vars).unwrap().offline);
    }

    #[test]
    fn the_token_comes_from_the_variable_or_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let vars = [("HF_HOME", home)];
        assert_eq!(options(&vars).unwrap().token, None);
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(options(&vars).unwrap().token, Some(Token::new("hf_file").unwrap()));
        let vars = [("HF_HOME", home), ("HF_TOKEN", " hf_variable ")];
        assert_eq!(options(&vars).unwrap().token, Some(Token::new("hf_variable").unwrap()));
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "hf_elsewhere").unwrap();
        let vars = [("HF_HOME", home), ("HF_TOKEN_PATH", elsewhere.to_str().unwrap())];
        assert_eq!(options(&vars).unwrap().token, Some(Token::new("hf_elsewhere").unwrap()));
    }

    #[test]
    fn a_token_is_never_shown() {
        let vars = [("HOME", "/h"), ("HF_TOKEN", "hf_secret")];
        assert!(!format!("{:?}", options(&vars).unwrap()).contains("secret"));
        let error = options(&[("HOME", "/h"), ("HF_TOKEN", "hf_secret\r\nX: y")]).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
