//! Writes the manual pages and the shells' completions to a folder, laid out as below PREFIX/share.
//!
//! Usage: `cargo run --example pages FOLDER`

mod completion;
mod page;
mod roff;

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: pages FOLDER"));
    };
    let folder = Path::new(&folder);
    for page in page::all() {
        write(&folder.join(page.place()), page.text.as_bytes())?;
    }
    for (place, text) in completion::all() {
        write(&folder.join(place), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}
