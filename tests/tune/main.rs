//! `mmptune` beside e2fsprogs. Needs mke2fs, tune2fs, e2fsck, dumpe2fs and debugfs; what mounts
//! needs root, and says so.

mod common;
mod faults;
mod hostile;
mod input;
mod lustre;
mod matrix;
mod peers;
mod power;
