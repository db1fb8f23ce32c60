//! Numbers and logicals as words of a file.

/// A real number: decimal, with exponent e, E, d or D, or nan, inf, infinity in any case. The whole word must be one.
pub fn real(word: &[u8]) -> Option<f64> {
    match real_prefix(word) {
        Some((value, used)) if used == word.len() => Some(value),
        _ => None,
    }
}

/// A real number at the start of `text`, with its length; it ends at a space or at the end.
#[inline]
pub fn real_prefix(text: &[u8]) -> Option<(f64, usize)> {
    if let Ok((value, used)) = fast_float2::parse_partial::<f64, _>(text)
        && text.get(used).is_none_or(|&b| b <= b' ')
    {
        return Some((value, used));
    }
    fortran(text)
}

/// Fortran's double precision exponent: 1.5D-3.
#[cold]
fn fortran(text: &[u8]) -> Option<(f64, usize)> {
    let used = text.iter().position(|&b| b <= b' ').unwrap_or(text.len());
    if used > 64 {
        return None;
    }
    let at = text[..used].iter().position(|b| matches!(b, b'd' | b'D'))?;
    if !text[..at].iter().any(u8::is_ascii_digit) {
        return None;
    }
    let mut word = text[..used].to_vec();
    word[at] = b'e';
    fast_float2::parse::<f64, _>(&word).ok().map(|value| (value, used))
}

/// A decimal integer with an optional sign; None if it does not fit 64 bits.
#[inline]
pub fn integer(word: &[u8]) -> Option<i64> {
    let (negative, digits) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        let digit = i64::from(digit);
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// T, F, true, false, True, False, TRUE, FALSE.
pub fn logical(word: &[u8]) -> Option<bool> {
    match word {
        b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_may_have_any_exponent_letter() {
        for (word, value) in
            [("1.5", 1.5), ("-.5", -0.5), ("+2.", 2.0), ("1e3", 1e3), ("1.5D-3", 1.5e-3), ("2d2", 200.0)]
        {
            assert_eq!(real(word.as_bytes()), Some(value), "{word}");
        }
        assert!(real(b"NaN").unwrap().is_nan());
        assert_eq!(real(b"-Inf"), Some(f64::NEG_INFINITY));
        for wrong in ["", "-", "e5", "d", "D1", "1.5x", "1..2", "0x1", "1 2", "1dd2"] {
            assert_eq!(real(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn integers_fit_64_bits_or_are_none() {
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"+12"), Some(12));
        for wrong in ["9223372036854775808", "", "-", "1.0", "1e3", "--1"] {
            assert_eq!(integer(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
