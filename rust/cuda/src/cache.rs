//! Compiled kernels kept on disk, keyed by everything that changes them, safe with several processes at once.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::sys;
use valence_core::Result;

/// `VALENCE_CACHE_DIR`, else the user's cache folder; `None` if there is neither (then kernels are compiled anew).
pub fn default_folder() -> Option<PathBuf> {
    let own = std::env::var_os("VALENCE_CACHE_DIR").map(PathBuf::from);
    let xdg = || std::env::var_os("XDG_CACHE_HOME").map(|d| PathBuf::from(d).join("valence"));
    let home = || std::env::var_os("HOME").map(|d| PathBuf::from(d).join(".cache/valence"));
    own.or_else(xdg).or_else(home)
}

/// NVRTC's own version: another compiler is another key.
fn compiler_version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: asked only where the library is present; the two places take its answer.
    unsafe {
        if sys::is_culib_present() {
            sys::nvrtcVersion(&mut major, &mut minor);
        }
    }
    (major, minor)
}

/// The cubin of `text` for `arch`: from `folder` if it is there, else made by `compile` and stored.
pub fn cubin(
    folder: Option<&Path>,
    text: &str,
    arch: &str,
    compile: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let Some(folder) = folder else { return compile() };
    let mut hasher = DefaultHasher::new();
    (text, arch, compiler_version(), env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    let path = folder.join(format!("{:016x}-{arch}.cubin", hasher.finish()));
    if let Ok(bytes) = fs::read(&path)
        && bytes.starts_with(b"\x7fELF")
    {
        return Ok(bytes);
    }
    let bytes = compile()?;
    // A cache that cannot be written is no error of the user's: he has his kernel. Written beside and renamed, so
    // that another process sees the whole file or none.
    let part = folder.join(format!("{:016x}.{}.part", hasher.finish(), std::process::id()));
    let stored =
        fs::create_dir_all(folder).and_then(|()| fs::write(&part, &bytes)).and_then(|()| fs::rename(&part, &path));
    if stored.is_err() {
        let _ = fs::remove_file(&part);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use valence_core::Error;

    #[test]
    fn the_second_call_does_not_compile_and_a_broken_file_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("valence-cache-test-{}", std::process::id()));
        let image = || Ok(b"\x7fELF kernel".to_vec());
        let never = || Err(Error::Device("compiled again".to_string()));
        let at = Some(folder.as_path());
        assert_eq!(cubin(at, "text", "sm_90", image), cubin(at, "text", "sm_90", never));
        assert!(cubin(at, "text", "sm_80", never).is_err());
        for file in fs::read_dir(&folder).unwrap() {
            fs::write(file.unwrap().path(), b"").unwrap();
        }
        assert!(cubin(at, "text", "sm_90", image).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }
}
