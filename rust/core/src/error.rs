//! One error type for the whole core, with one message shape: "`name` must be RULE, got VALUE".

/// What can go wrong, by whose fault it is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A value that the caller passed breaks a rule. Python: `ValueError`.
    #[error("{0}")]
    Value(String),
    /// An argument is of the wrong type. Python: `TypeError`.
    #[error("{0}")]
    Type(String),
    /// A result does not fit the integer type that it was asked in. Python: `OverflowError`.
    #[error("{0}")]
    Overflow(String),
    /// The result would not fit into memory. Python: `MemoryError`.
    #[error("{0}")]
    Memory(String),
    /// A file cannot be opened, read or written. Python: `OSError`.
    #[error("{0}")]
    Io(String),
    /// The request is valid but this machine cannot serve it (no GPU, no driver). Python: `RuntimeError`.
    #[error("{0}")]
    Device(String),
    /// The caller asked us to stop (Ctrl-C). Python: `KeyboardInterrupt`.
    #[error("interrupted")]
    Interrupted,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Builds the one message shape of the project, for a value.
    #[cold]
    pub fn value(name: &str, rule: &str, got: impl std::fmt::Display) -> Self {
        Error::Value(format!("`{name}` must be {rule}, got {got}"))
    }

    /// The same shape, for a type.
    #[cold]
    pub fn kind(name: &str, rule: &str, got: impl std::fmt::Display) -> Self {
        Error::Type(format!("`{name}` must be {rule}, got {got}"))
    }
}

/// `cutoff` must be a positive finite number of Angstrom. NaN fails too: the test is written so that it does.
pub fn check_cutoff(cutoff: f64) -> Result<()> {
    if cutoff > 0.0 && cutoff.is_finite() {
        return Ok(());
    }
    Err(Error::value("cutoff", "a positive finite length in Angstrom", format!("{cutoff:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_cutoff_is_named_with_its_value() {
        for (bad, shown) in [(0.0, "0.0"), (-1.5, "-1.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let message = check_cutoff(bad).unwrap_err().to_string();
            assert_eq!(message, format!("`cutoff` must be a positive finite length in Angstrom, got {shown}"));
        }
    }
}
