//! `Properties=species:S:1:pos:R:3:...`: which words of an atom line go where.

use super::comment::Broken;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Real,
    Int,
    Bool,
    Text,
}

/// Where a property goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Species,
    Positions,
    Column(String),
    /// Symbols beside atomic numbers: the numbers count.
    Skipped,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub target: Target,
    pub kind: Kind,
    pub width: usize,
}

/// The properties of a frame, in the order of its atom lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// As the file spells it.
    pub text: String,
    pub properties: Vec<Property>,
    /// Words of an atom line.
    pub num_words: usize,
}

/// The properties of plain XYZ; words beyond the fourth are the column `extra`.
pub fn plain(num_words: usize) -> String {
    match num_words {
        0..=4 => "species:S:1:pos:R:3".into(),
        n => format!("species:S:1:pos:R:3:extra:R:{}", n - 4),
    }
}

impl Layout {
    pub fn parse(text: &str) -> Result<Layout, Broken> {
        let broken = |rule: &str, got: &str| ("Properties".to_string(), rule.to_string(), got.to_string());
        let fields: Vec<&str> = text.trim().split(':').collect();
        if !fields.len().is_multiple_of(3) {
            return Err(broken("name:type:width, again and again", text));
        }
        let mut properties: Vec<Property> = Vec::new();
        let mut num_words = 0usize;
        for field in fields.chunks_exact(3) {
            let (name, kind, width) = (field[0], field[1], field[2]);
            let kind = match kind {
                "R" => Kind::Real,
                "I" => Kind::Int,
                "L" => Kind::Bool,
                "S" => Kind::Text,
                _ => return Err(broken("of types R, I, S and L", text)),
            };
            let width = width.parse().ok().filter(|w| (1..=1 << 24).contains(w));
            let width: usize = width.ok_or_else(|| broken("of widths from 1 to 16777216", text))?;
            num_words += width;
            let (target, fits) = match name {
                "species" | "symbols" => (Target::Species, width == 1 && kind == Kind::Text),
                "Z" | "numbers" => (Target::Species, width == 1 && kind == Kind::Int),
                "pos" | "positions" => (Target::Positions, width == 3 && matches!(kind, Kind::Real | Kind::Int)),
                "charge" => (Target::Column("charges".into()), true),
                "" => return Err(broken("of properties with a name", text)),
                name => (Target::Column(name.into()), true),
            };
            if !fits {
                return Err(broken("of species:S:1 or Z:I:1, and pos:R:3", text));
            }
            if target == Target::Species
                && let Some(other) = properties.iter_mut().find(|p| p.target == Target::Species)
            {
                if other.kind == kind {
                    return Err(broken("of different properties", text));
                }
                // Both symbols and numbers: the numbers count, as in ASE.
                let this = Property { target: Target::Species, kind, width };
                let skipped = Property { target: Target::Skipped, kind: Kind::Text, width };
                if kind == Kind::Int {
                    *other = skipped;
                    properties.push(this);
                } else {
                    properties.push(skipped);
                }
                continue;
            }
            if properties.iter().any(|p| p.target == target) {
                return Err(broken("of different properties", text));
            }
            properties.push(Property { target, kind, width });
        }
        for needed in [Target::Species, Target::Positions] {
            if !properties.iter().any(|p| p.target == needed) {
                return Err(broken("of species (or Z) and pos, and more", text));
            }
        }
        Ok(Layout { text: text.into(), properties, num_words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_win_over_symbols_and_both_are_read() {
        let layout = Layout::parse("species:S:1:pos:R:3:Z:I:1:forces:R:3").unwrap();
        assert_eq!(layout.num_words, 8);
        assert_eq!(layout.properties[0].target, Target::Skipped);
        assert_eq!(layout.properties[2].target, Target::Species);
    }

    #[test]
    fn properties_that_make_no_sense_are_refused() {
        for text in [
            "",
            "species:S:1",
            "pos:R:3",
            "species:S:1:pos:R:2",
            "species:S:1:pos:R:3:a:Q:1",
            "species:S:1:pos:R:3:a:R:0",
            "species:S:1:pos:R:3:a:R:99999999999999999999",
            "species:S:1:pos:R:3:a:R:1:a:R:1",
            "species:S:1:pos:R:3:a:R",
        ] {
            assert!(Layout::parse(text).is_err(), "{text}");
        }
    }
}
