//! Symbols and atomic numbers of the 118 elements.

/// `SYMBOLS[z]` is the symbol of atomic number z; `SYMBOLS[0]` is "X".
#[rustfmt::skip]
pub const SYMBOLS: [&str; 119] = [
    "X", "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc",
    "Lv", "Ts", "Og",
];

/// Atomic number by first letter (26) and second (none, then 26); 0 where there is no such element.
const BY_LETTERS: [u8; 26 * 27] = {
    let mut table = [0; 26 * 27];
    let mut z = 1;
    while z < SYMBOLS.len() {
        let s = SYMBOLS[z].as_bytes();
        let second = if s.len() == 2 { (s[1] - b'a' + 1) as usize } else { 0 };
        table[(s[0] - b'A') as usize * 27 + second] = z as u8;
        z += 1;
    }
    table
};

/// The atomic number of a symbol in any case ("Cl", "CL", "cl") or of a number ("17"); None for anything else.
pub fn atomic_number(symbol: &[u8]) -> Option<u8> {
    let letter = |b: u8| b.is_ascii_alphabetic().then(|| (b.to_ascii_uppercase() - b'A') as usize);
    let z = match *symbol {
        [a] if a.is_ascii_alphabetic() => BY_LETTERS[letter(a)? * 27],
        [a, b] if a.is_ascii_alphabetic() => BY_LETTERS[letter(a)? * 27 + letter(b)? + 1],
        _ => std::str::from_utf8(symbol).ok()?.parse().ok()?,
    };
    (1..=118).contains(&z).then_some(z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_gives_its_number_in_any_case() {
        for (z, symbol) in SYMBOLS.iter().enumerate().skip(1) {
            for text in [symbol.to_string(), symbol.to_lowercase(), symbol.to_uppercase(), z.to_string()] {
                assert_eq!(atomic_number(text.as_bytes()), Some(z as u8));
            }
        }
        for wrong in ["X", "", "Xx", "Abc", "0", "119", "-1", "C1", "é"] {
            assert_eq!(atomic_number(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
