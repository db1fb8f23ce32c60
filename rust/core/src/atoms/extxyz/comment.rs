//! The comment line: `key=value` pairs.
//!
//! The grammar is that of ASE 3.29 (`ase/io/extxyz.py`, `key_val_str_to_dict`): values may stand in "", '', {} or [], a
//! backslash takes the next character as it is, blanks may surround the equal sign, a key without a value is true.
//! Beyond ASE: nested brackets `[[1, 0], [0, 1]]` make a matrix, reals with a point may have Fortran's exponent D, and a line
//! without any equal sign is free text, kept under the key `comment`.

use super::info::Value;
use super::number::{integer, logical, real};

/// What a comment line says.
#[derive(Debug, Default)]
pub struct Comment {
    pub lattice: Option<[f64; 9]>,
    pub pbc: Option<[bool; 3]>,
    pub properties: Option<String>,
    pub info: Vec<(String, Value)>,
}

/// A rule that a line breaks: (name, rule, got).
pub type Broken = (String, String, String);

struct Pair {
    key: String,
    /// None: the key stands alone.
    value: Option<String>,
    /// The value is a matrix in nested brackets.
    nested: bool,
}

/// Reads a comment line.
pub fn parse(line: &str) -> Result<Comment, Broken> {
    let line = line.trim();
    let mut comment = Comment::default();
    if line.is_empty() {
        return Ok(comment);
    }
    if !line.contains('=') {
        comment.info.push(("comment".into(), Value::Text(line.into())));
        return Ok(comment);
    }
    for pair in split(line) {
        match pair.key.as_str() {
            "Lattice" => comment.lattice = Some(lattice(&pair)?),
            "pbc" => comment.pbc = Some(pbc(&pair)?),
            "Properties" => comment.properties = Some(pair.value.unwrap_or_default()),
            _ => {
                let value = value_of(&pair);
                comment.info.push((pair.key, value));
            }
        }
    }
    Ok(comment)
}

/// A comment that is no pairs at all: free text (files whose cell stands in VEC lines).
pub fn free_text(line: &str) -> Comment {
    Comment { info: vec![("comment".into(), Value::Text(line.trim().into()))], ..Comment::default() }
}

/// The pair that is being read.
#[derive(Default)]
struct Splitter {
    pairs: Vec<Pair>,
    word: String,
    /// `word` is a value: an equal sign was read.
    in_value: bool,
    /// Something of `word` was read, be it an empty pair of quotes.
    seen: bool,
}

impl Splitter {
    fn end_word(&mut self, nested: bool) {
        let word = std::mem::take(&mut self.word);
        if !self.in_value {
            if self.seen {
                self.pairs.push(Pair { key: word, value: None, nested: false });
            }
        } else if let Some(last) = self.pairs.last_mut() {
            (last.value, last.nested) = (Some(word), nested);
        }
        (self.in_value, self.seen) = (false, false);
    }
}

fn split(line: &str) -> Vec<Pair> {
    let mut s = Splitter::default();
    let (mut closing, mut escaped, mut depth) = (None, false, 0usize);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if escaped {
            s.word.push(c);
            (escaped, s.seen) = (false, true);
        } else if c == '\\' {
            escaped = true;
        } else if depth > 0 {
            s.word.push(c);
            depth = match c {
                '[' => depth + 1,
                ']' => depth - 1,
                _ => depth,
            };
            if depth == 0 {
                s.end_word(true);
            }
        } else if let Some(end) = closing {
            if c == end { closing = None } else { s.word.push(c) }
        } else if let Some(end) = closing_of(c) {
            if c == '[' && s.in_value && !s.seen && next_is('[', chars.clone()) {
                depth = 1;
                s.word.push(c);
            } else {
                closing = Some(end);
            }
            s.seen = true;
        } else if c.is_ascii_whitespace() {
            let value_follows = s.in_value && !s.seen;
            let equal_follows = !s.in_value && next_is('=', chars.clone());
            if !value_follows && !equal_follows {
                s.end_word(false);
            }
        } else if c == '=' && !s.in_value {
            if s.seen {
                s.end_word(false);
                s.in_value = true;
            }
        } else {
            s.word.push(c);
            s.seen = true;
        }
    }
    if s.seen || s.in_value {
        s.end_word(false);
    }
    s.pairs
}

fn next_is(wanted: char, mut rest: std::str::Chars) -> bool {
    rest.find(|c| !c.is_ascii_whitespace()) == Some(wanted)
}

fn closing_of(c: char) -> Option<char> {
    match c {
        '"' => Some('"'),
        '\'' => Some('\''),
        '{' => Some('}'),
        '[' => Some(']'),
        _ => None,
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|w| !w.is_empty())
}

fn value_of(pair: &Pair) -> Value {
    let Some(text) = &pair.value else { return Value::Bool(true) };
    if pair.key.eq_ignore_ascii_case("uid") {
        return Value::Text(text.clone());
    }
    if pair.nested {
        return matrix(text).unwrap_or_else(|| Value::Text(text.clone()));
    }
    let value = classify(text);
    match (&*pair.key, value) {
        // Column-major in the file, as ASE has it; symmetric unless something is amiss.
        ("virial" | "stress", Value::Reals(x, s)) if s == [9] => Value::Reals(transposed(&x), vec![3, 3]),
        ("virial" | "stress", Value::Ints(x, s)) if s == [9] => {
            Value::Reals(transposed(&x.iter().map(|&x| x as f64).collect::<Vec<_>>()), vec![3, 3])
        }
        (_, value) => value,
    }
}

fn transposed(x: &[f64]) -> Vec<f64> {
    (0..9).map(|k| x[k % 3 * 3 + k / 3]).collect()
}

/// What a text is: integers, else reals, else logicals, one or several, else JSON, else text.
pub fn classify(text: &str) -> Value {
    let count = words(text).count();
    if count == 0 {
        return Value::Text(text.into());
    }
    if let Some(x) = words(text).map(|w| integer(w.as_bytes())).collect::<Option<Vec<_>>>() {
        return if count == 1 { Value::Int(x[0]) } else { Value::Ints(x, vec![count]) };
    }
    if let Some(x) = words(text).map(info_real).collect::<Option<Vec<_>>>() {
        return if count == 1 { Value::Real(x[0]) } else { Value::Reals(x, vec![count]) };
    }
    if let Some(x) = words(text).map(|w| logical(w.as_bytes())).collect::<Option<Vec<_>>>() {
        return if count == 1 { Value::Bool(x[0]) } else { Value::Bools(x, vec![count]) };
    }
    match text.strip_prefix("_JSON ") {
        Some(json) => Value::Json(json.into()),
        None => Value::Text(text.into()),
    }
}

/// A real of a comment line. `3d5` is text (an orbital, a name); Fortran's exponent needs a point before it: `3.0d5`.
fn info_real(word: &str) -> Option<f64> {
    let value = real(word.as_bytes())?;
    let is_fortran = word.contains(['d', 'D']);
    (!is_fortran || word.contains('.')).then_some(value)
}

fn matrix(text: &str) -> Option<Value> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    if inner.matches('[').count() != inner.matches(']').count() {
        return None;
    }
    let (mut rows, mut rest) = (Vec::new(), inner);
    while let Some(open) = rest.find('[') {
        let close = rest[open..].find(']')? + open;
        let row = &rest[open + 1..close];
        if row.contains('[') || words(&rest[..open]).next().is_some() {
            return None;
        }
        rows.push(row);
        rest = &rest[close + 1..];
    }
    let width = words(rows.first()?).count();
    if width == 0 || words(rest).next().is_some() || rows.iter().any(|r| words(r).count() != width) {
        return None;
    }
    let shape = vec![rows.len(), width];
    match classify(&rows.join(" ")) {
        Value::Ints(x, _) => Some(Value::Ints(x, shape)),
        Value::Int(x) => Some(Value::Ints(vec![x], shape)),
        Value::Reals(x, _) => Some(Value::Reals(x, shape)),
        Value::Real(x) => Some(Value::Reals(vec![x], shape)),
        Value::Bools(x, _) => Some(Value::Bools(x, shape)),
        Value::Bool(x) => Some(Value::Bools(vec![x], shape)),
        _ => None,
    }
}

fn lattice(pair: &Pair) -> Result<[f64; 9], Broken> {
    let text = pair.value.clone().unwrap_or_default();
    let flat = if pair.nested { text.replace(['[', ']'], " ") } else { text.clone() };
    let numbers: Option<Vec<f64>> = words(&flat).map(|w| real(w.as_bytes())).collect();
    let numbers = numbers.and_then(|x| <[f64; 9]>::try_from(x).ok());
    numbers.ok_or_else(|| ("Lattice".into(), "nine numbers".into(), text))
}

fn pbc(pair: &Pair) -> Result<[bool; 3], Broken> {
    let text = pair.value.clone().unwrap_or_else(|| "T".into());
    let one = |w: &str| match w {
        "1" => Some(true),
        "0" => Some(false),
        _ => logical(w.as_bytes()),
    };
    let flags: Option<Vec<bool>> = words(&text).map(one).collect();
    match flags.as_deref() {
        Some(&[all]) => Ok([all; 3]),
        Some(&[a, b, c]) => Ok([a, b, c]),
        _ => Err(("pbc".into(), "one or three of T and F".into(), text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(line: &str) -> Vec<(String, Value)> {
        parse(line).unwrap().info
    }

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    #[test]
    fn values_take_the_first_kind_that_fits() {
        let pairs =
            info("a=1 b=1.5 c=T d=\"1 2\" e='1 2.5' f={T F} g=word h=\"two words\" i flag2 j=nan k=3d5 l=3.0d5");
        let got: Vec<&Value> = pairs.iter().map(|(_, v)| v).collect();
        assert_eq!(*got[0], Value::Int(1));
        assert_eq!(*got[1], Value::Real(1.5));
        assert_eq!(*got[2], Value::Bool(true));
        assert_eq!(*got[3], Value::Ints(vec![1, 2], vec![2]));
        assert_eq!(*got[4], Value::Reals(vec![1.0, 2.5], vec![2]));
        assert_eq!(*got[5], Value::Bools(vec![true, false], vec![2]));
        assert_eq!(*got[6], text("word"));
        assert_eq!(*got[7], text("two words"));
        assert_eq!(*got[8], Value::Bool(true));
        assert_eq!(pairs[9].0, "flag2");
        assert!(matches!(got[10], Value::Real(x) if x.is_nan()));
        assert_eq!(*got[11], text("3d5"));
        assert_eq!(*got[12], Value::Real(3e5));
    }

    #[test]
    fn quotes_escapes_and_blanks_around_equal_signs_are_understood() {
        assert_eq!(
            info(r#"a="say \"hi\" \\ {x}" "my key"=5"#),
            [("a".into(), text(r#"say "hi" \ {x}"#)), ("my key".into(), Value::Int(5))]
        );
        assert_eq!(
            info("E = -1.5 , t= 3"),
            [("E".into(), Value::Real(-1.5)), (",".into(), Value::Bool(true)), ("t".into(), Value::Int(3))]
        );
        assert_eq!(info("a=b=c d=\"\""), [("a".into(), text("b=c")), ("d".into(), text(""))]);
    }

    #[test]
    fn nested_brackets_make_a_matrix_and_nine_numbers_a_lattice() {
        assert_eq!(
            info("m=[[1, 2], [3, 4]] n=1"),
            [("m".into(), Value::Ints(vec![1, 2, 3, 4], vec![2, 2])), ("n".into(), Value::Int(1))]
        );
        let nested = parse("Lattice=[[1,0,0],[0,2,0],[0,0,3.5]] pbc=[T,T,F]").unwrap();
        let flat = parse("pbc='1 1 0' Lattice=\"1 0 0 0 2 0 0 0 3.5\"").unwrap();
        assert_eq!(nested.lattice, flat.lattice);
        assert_eq!((nested.pbc, flat.pbc), (Some([true, true, false]), Some([true, true, false])));
        assert_eq!(parse("Lattice=\"1 2\"").unwrap_err().1, "nine numbers");
    }

    #[test]
    fn a_line_without_an_equal_sign_is_free_text() {
        assert_eq!(info("  water, 300 K "), [("comment".into(), text("water, 300 K"))]);
        assert!(info("   ").is_empty());
    }

    #[test]
    fn hostile_lines_end() {
        for line in
            ["=", "==", "a=", "=a", "\\", "a=\"", "a=[[", "a=[[1]", "a=[[]]", "'=", "a = = b", "[=]", "a=[[1],[2,3]]"]
        {
            let _ = parse(line);
        }
    }
}
