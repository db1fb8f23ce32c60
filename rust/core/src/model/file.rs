//! A model's file: safetensors, mapped into memory, with a configuration as YAML text among its metadata.
//!
//! Offsets, sizes and names are checked once when the file is opened; nothing of it is executed and no more memory is taken
//! than the file's own size (the configuration may not refer to itself by anchors).

use std::collections::BTreeMap;
use std::fs::File as OsFile;
use std::path::Path;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};

/// Longest configuration in bytes.
const LONGEST: usize = 1 << 20;

/// An open file: metadata and where each tensor lies.
pub struct File {
    map: Mmap,
    pub metadata: BTreeMap<String, String>,
}

/// One tensor: its type as safetensors names it ("F64"), shape and little-endian bytes, not aligned.
pub struct Tensor<'a> {
    pub name: String,
    pub kind: &'static str,
    pub shape: Vec<usize>,
    pub bytes: &'a [u8],
}

impl File {
    pub fn open(path: &Path) -> Result<Self> {
        let broken = |why: String| Error::value("path", "a safetensors file", format!("{}: {why}", path.display()));
        let file = OsFile::open(path).map_err(|e| Error::Io(format!("{}: {e}", path.display())))?;
        // SAFETY: the map is read as plain bytes only. Another process that shortens the file while it is open would end this
        // one (SIGBUS), as with any mapped file; there is no way to guard against it but a copy.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| broken(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|e| broken(e.to_string()))?;
        SafeTensors::deserialize(&map).map_err(|e| broken(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(File { map, metadata })
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> Result<Vec<Tensor<'_>>> {
        let file = SafeTensors::deserialize(&self.map).map_err(|e| Error::value("path", "a safetensors file", e))?;
        let mut found = Vec::new();
        for (name, view) in file.tensors() {
            let kind = match view.dtype() {
                Dtype::F64 => "F64",
                Dtype::F32 => "F32",
                Dtype::I64 => "I64",
                Dtype::I32 => "I32",
                Dtype::I16 => "I16",
                Dtype::U8 => "U8",
                Dtype::BOOL => "BOOL",
                other => {
                    let rule = format!("of dtype F64, F32, I64, I32, I16, U8 or BOOL in `{name}`");
                    return Err(Error::value("path", &rule, format!("{other:?}")));
                }
            };
            // `view.data()` borrows from the view's own lifetime, which is that of the map.
            found.push(Tensor { name, kind, shape: view.shape().to_vec(), bytes: view.data() });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The YAML text under a metadata key, as JSON.
    pub fn yaml(&self, key: &str) -> Result<String> {
        let Some(text) = self.metadata.get(key) else {
            let have: Vec<_> = self.metadata.keys().collect();
            return Err(Error::value("path", &format!("a file with the metadata `{key}`"), format!("only {have:?}")));
        };
        if text.len() > LONGEST {
            return Err(Error::value(key, &format!("at most {LONGEST} bytes"), text.len()));
        }
        let bad = |e: String| Error::value(key, "readable YAML", e);
        let value: serde_json::Value = serde_yaml_ng::from_str(text).map_err(|e| bad(e.to_string()))?;
        let json = serde_json::to_string(&value).map_err(|e| bad(e.to_string()))?;
        // Anchors can make a short text huge.
        if json.len() > 4 * text.len() + 64 { Err(bad("anchors that repeat what they name".into())) } else { Ok(json) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize_to_file};

    fn written(name: &str, yaml: &str) -> std::path::PathBuf {
        let data: Vec<u8> = [1.0f64, 2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F64, vec![2], &data).unwrap();
        let path = std::env::temp_dir().join(format!("valence-{}-{name}.safetensors", std::process::id()));
        let metadata = std::collections::HashMap::from([("config".to_string(), yaml.to_string())]);
        serialize_to_file([("w", view)], Some(metadata), &path).unwrap();
        path
    }

    #[test]
    fn tensors_and_configuration_come_back() {
        let path = written("good", "r_max: 5.0\nlayers: [1, 2]\n");
        let file = File::open(&path).unwrap();
        assert_eq!(file.yaml("config").unwrap(), r#"{"layers":[1,2],"r_max":5.0}"#);
        let tensors = file.tensors().unwrap();
        assert_eq!((tensors[0].name.as_str(), tensors[0].kind, &tensors[0].shape[..]), ("w", "F64", &[2][..]));
        assert_eq!(tensors[0].bytes[..8], 1.0f64.to_le_bytes());
        assert!(file.yaml("other").is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn every_truncation_is_an_error() {
        let path = written("cut", "a: 1");
        let whole = std::fs::read(&path).unwrap();
        for n in 0..whole.len() {
            std::fs::write(&path, &whole[..n]).unwrap();
            assert!(File::open(&path).is_err(), "{n} bytes of {}", whole.len());
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_configuration_that_grows_is_refused() {
        let mut yaml = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
        for (next, last) in ["b", "c", "d", "e"].iter().zip(["a", "b", "c", "d"]) {
            yaml += &format!("{next}: &{next} [{}]\n", vec![format!("*{last}"); 9].join(", "));
        }
        let path = written("bomb", &yaml);
        assert!(File::open(&path).unwrap().yaml("config").is_err());
        std::fs::remove_file(path).unwrap();
    }
}
