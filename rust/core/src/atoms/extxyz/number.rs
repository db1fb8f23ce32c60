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
    if let Some(found) = plain_decimal(text) {
        return Some(found);
    }
    if let Ok((value, used)) = fast_float2::parse_partial::<f64, _>(text)
        && text.get(used).is_none_or(|&b| b <= b' ')
    {
        return Some((value, used));
    }
    fortran(text)
}

/// The common case: [-]digits.digits with at most 2^53 as the integer of all digits and at most 22 decimals. Integer and
/// power of ten are then exact, so that one division rounds correctly (Clinger, PLDI 1990, 92).
#[inline]
fn plain_decimal(text: &[u8]) -> Option<(f64, usize)> {
    const TENS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ];
    let negative = *text.first()? == b'-';
    let first = usize::from(negative);
    let (mut at, mut all) = (first, 0u64);
    while let Some(digit) = text.get(at).map(|b| b.wrapping_sub(b'0')).filter(|&d| d <= 9) {
        all = all.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    if text.get(at) != Some(&b'.') {
        return None;
    }
    at += 1;
    let point = at;
    while let Some(eight) = text.get(at..at + 8).and_then(|b| b.try_into().ok()).and_then(eight_digits) {
        all = all.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(digit) = text.get(at).map(|b| b.wrapping_sub(b'0')).filter(|&d| d <= 9) {
        all = all.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    // 19 digits cannot have wrapped around 2^64.
    let num_digits = at - first - 1;
    let is_end = text.get(at).is_none_or(|&b| b <= b' ');
    if !is_end || num_digits == 0 || num_digits > 19 || all > 1 << 53 {
        return None;
    }
    let value = all as f64 / TENS[at - point];
    Some((if negative { -value } else { value }, at))
}

/// Eight digits at once, if they are digits: three multiplications add neighbours, then pairs, then fours.
#[inline]
fn eight_digits(bytes: [u8; 8]) -> Option<u64> {
    let x = u64::from_le_bytes(bytes);
    let high = x.wrapping_add(0x4646_4646_4646_4646);
    let low = x.wrapping_sub(0x3030_3030_3030_3030);
    if (high | low) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let x = low.wrapping_mul(10).wrapping_add(low >> 8) & 0x00ff_00ff_00ff_00ff;
    let x = x.wrapping_mul(100).wrapping_add(x >> 16) & 0x0000_ffff_0000_ffff;
    Some(x.wrapping_mul(10_000).wrapping_add(x >> 32) & 0xffff_ffff)
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
    fn decimals_of_any_length_are_those_of_the_standard_library() {
        let mut state = 7u64;
        for i in 0..200_000u64 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let digits = (state >> 20).to_string();
            let keep = 1 + (i % digits.len() as u64) as usize;
            let point = (state >> 7) as usize % (keep + 1);
            let word = format!("{}{}.{}", if i % 2 == 0 { "-" } else { "" }, &digits[..point], &digits[point..keep]);
            let expected: f64 = word.parse().unwrap();
            assert_eq!(real(word.as_bytes()).unwrap().to_bits(), expected.to_bits(), "{word}");
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
