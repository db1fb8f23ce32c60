use super::*;

fn all(text: &str) -> crate::Result<Frames> {
    parse(text.as_bytes(), Selection::ALL)
}

#[test]
fn a_frame_survives_writing_and_reading_bit_for_bit() {
    let text = "3\nLattice=\"5 0 0 0.1 5 0 0 0 5e-3\" Properties=species:S:1:pos:R:3:tags:I:1:on:L:1:kind:S:1:forces:R:3 \
                energy=-1.25 name=\"a \\\"b\\\"\" stress=\"1 2 3 4 5 6 7 8 9\" m=[[1,2],[3,4]] n=5 pbc=\"T F T\"\n\
                H 0.1 -1e-300 3 1 T a 1 2 3\r\n\tO\t1 2 3.5D2 -1 F b nan 0 0\nCl 1 1 1 0 T c 0 0 0.30000000000000004\n\n\n";
    let frames = all(text).unwrap();
    assert_eq!(frames.numbers, [1, 8, 17]);
    assert_eq!(frames.positions[5], 350.0);
    let again = parse(&to_text(&frames.view()).unwrap(), Selection::ALL).unwrap();
    assert_eq!(format!("{frames:?}"), format!("{again:?}"));
}

#[test]
fn wrong_lines_are_named_by_line_and_frame() {
    let good = "1\n\nH 0 0 0\n";
    for (text, message) in [
        ("2\n\nH 0 0 0\n", "line 4 (frame 0): the frame must have 2 atoms, got the end of the file after 1"),
        ("x\n", "line 1 (frame 0): the frame's first line must be the number of atoms, got x"),
        ("-1\n\n", "line 1 (frame 0): the frame's first line must be the number of atoms, got -1"),
        ("1\n", "line 2 (frame 0): a comment line must follow the number of atoms, got the end of the file"),
        ("1\n\nH 0 0\n", "line 3 (frame 0): an atom line must have 4 values (species:S:1:pos:R:3), got 3"),
        (
            "1\n\nQq 0 0 0\n",
            "line 3 (frame 0): `species` must be an element's symbol or a number from 1 to 118, got Qq",
        ),
        ("2\n\nH 0 0 0\nH 0 zero 0\n", "line 4 (frame 0): `pos` must be real numbers, got zero"),
        ("1\na=1 Lattice=\"1 2\"\nH 0 0 0\n", "line 2 (frame 0): `Lattice` must be nine numbers, got 1 2"),
    ] {
        assert!(all(text).unwrap_err().to_string().starts_with(message), "{:?}", all(text));
    }
    let second = all(&format!("{good}{good}1\n\nH 0 0 a\n")).unwrap_err().to_string();
    assert!(second.starts_with("line 9 (frame 2): "), "{second}");
}

#[test]
fn frames_that_differ_have_nan_where_reals_are_missing_and_refuse_missing_integers() {
    let with = "1\nProperties=species:S:1:pos:R:3:q:R:1 e=1\nH 0 0 0 0.5\n";
    let without = "1\n\nH 0 0 0\n";
    for text in [format!("{with}{without}"), format!("{without}{with}")] {
        let Values::Real(q) = &all(&text).unwrap().columns[0].values else { panic!("reals") };
        assert_eq!(q.iter().filter(|x| x.is_nan()).count(), 1);
    }
    let tags = "1\nProperties=species:S:1:pos:R:3:q:I:1\nH 0 0 0 5\n";
    assert!(all(&format!("{tags}{without}")).is_err() && all(&format!("{without}{tags}")).is_err());
    let mixed = all(&format!("{tags}{with}")).unwrap();
    assert_eq!(mixed.columns[0].values, Values::Real(vec![5.0, 0.5]));
}

#[test]
fn any_number_of_threads_and_any_pieces_give_the_same_frames() {
    let mut text = String::new();
    for f in 0..3000 {
        let n = if f == 7 { 20_000 } else { f % 5 };
        text.push_str(&format!("{n}\nProperties=species:S:1:pos:R:3:w:S:1 e={f}\n"));
        (0..n).for_each(|i| text.push_str(&format!("C {}.25 {f} 1e-{} w{i}\n", i, i % 20)));
    }
    let read = |threads| {
        crate::pool::set_num_threads(threads).unwrap();
        all(&text).unwrap()
    };
    let one = read(1);
    assert_eq!(one, read(2));
    let some = parse(text.as_bytes(), Selection { start: 5, stop: 2000, step: 7 }).unwrap();
    assert_eq!(some.offsets.len() - 1, 285);
    let mut reader = Reader::new(text.as_bytes(), Selection::ALL);
    let mut frames = 0;
    while let Some(part) = reader.next(100).unwrap() {
        frames += part.offsets.len() - 1;
    }
    assert_eq!(frames, 3000);
}

#[test]
fn damaged_files_give_errors_or_frames_and_never_a_panic() {
    let text = "2\nLattice=\"5 0 0 0 5 0 0 0 5\" Properties=species:S:1:pos:R:3:t:I:1 a=[[1,2],[3,4]] b='x y'\nH 0 0 0 1\nO 1 1e5 2 3\n0\n\n1\n\nC 1 2 3\nVEC1 1 0 0\n";
    let mut state = 12345u64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..20_000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"\n=\"[]:- 9"[random(9)]),
                _ => {
                    bytes.remove(at);
                    if bytes.is_empty() {
                        bytes.push(b'1');
                    }
                }
            }
        }
        if let Ok(frames) = parse(&bytes, Selection::ALL) {
            let _ = to_text(&frames.view());
        }
    }
}

#[test]
fn texts_that_look_like_other_values_survive_as_texts() {
    for word in ["5", "T", "1 2", "", " a", "a\\b", "q\"q", "new\nline", "ü", "=", "[1]", "[[1, 2]]", "_JSON 1", "nan"]
    {
        let info =
            Info { name: "t".into(), shape: vec![], values: InfoValues::Mixed(vec![Some(Value::Text(word.into()))]) };
        let mut frames = all("1\n\nH 0 0 0\n").unwrap();
        frames.info = vec![info];
        let back = parse(&to_text(&frames.view()).unwrap(), Selection::ALL).unwrap();
        let InfoValues::Mixed(values) = &back.info[0].values else { panic!("{word}: {:?}", back.info) };
        let is_same = *values == [Some(Value::Text(word.into()))];
        assert!(
            is_same || matches!(&values[..], [Some(Value::Json(json))] if json.starts_with('"')),
            "{word}: {values:?}"
        );
    }
}
