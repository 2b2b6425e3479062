//! The file of tokens.

use std::path::Path;

use anyhow::Context as _;
use openssl::memcmp;
use openssl::sha::sha256;

use super::{Caller, Scope};

type Hash = [u8; 32];

/// Who has which token.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<(Hash, Caller)>);

impl Tokens {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("the file of tokens, {}", path.display());
        let text = std::fs::read_to_string(path).with_context(named)?;
        Self::parse(&text).with_context(named)
    }

    /// No error repeats a line: a token may stand in it by mistake.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            let token = token(&words).ok_or_else(|| {
                anyhow::anyhow!(
                    "line {number} is not NAME SCOPE,SCOPE sha256:HASH, and owner=NAME if it is one owner's"
                )
            })?;
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Who has `token`. Looks at every line, however early it is found.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        let hash = sha256(token.as_bytes());
        let found = self.0.iter().fold(None, |found, (known, caller)| {
            if memcmp::eq(known, &hash) {
                Some(caller)
            } else {
                found
            }
        });
        found.cloned()
    }
}

fn token(words: &[&str]) -> Option<(Hash, Caller)> {
    let (name, scopes, hash, owner) = match *words {
        [name, scopes, hash] => (name, scopes, hash, None),
        [name, scopes, hash, owner] => (name, scopes, hash, Some(owner.strip_prefix("owner=")?)),
        _ => return None,
    };
    let scopes = scopes.split(',').map(str::parse::<Scope>);
    let caller = Caller {
        name: name.to_owned(),
        owner: owner.map(str::to_owned).filter(|owner| !owner.is_empty()),
        scopes: scopes.collect::<Result<_, _>>().ok()?,
    };
    // An owner that is empty would be everybody.
    if owner.is_some() && caller.owner.is_none() {
        return None;
    }
    Some((hash_of(hash.strip_prefix("sha256:")?)?, caller))
}

fn hash_of(hex: &str) -> Option<Hash> {
    let digits = hex.as_bytes().chunks_exact(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    (hex.len() == 64).then_some(())?;
    bytes.try_into().ok()
}
