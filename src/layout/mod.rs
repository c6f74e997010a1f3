//! What lies on the disk: bytes in, bytes out.
//!
//! Little-endian throughout, field names and offsets as in the kernel's `fs/ext4/ext4.h`. Nothing
//! in here does I/O, knows the time or decides anything; what is read is taken as hostile, and
//! bytes nobody asked to change stay as they were found.

mod bitmap;
pub mod checksum;
pub mod features;
mod geometry;
mod group;
mod mmp;
mod superblock;
mod text;
mod units;

pub use bitmap::BlockBitmap;
pub use features::Features;
pub use geometry::{Geometry, GeometryError};
pub use group::{GroupChecksum, GroupDescriptor};
pub use mmp::{Invalid, MMP_MAGIC, MMP_SIZE, MmpBlock, MmpChecksum, Names, Sequence};
pub use superblock::{
    MmpArea, STATE_ERROR, STATE_VALID, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock,
    SuperblockError,
};
pub use text::Escaped;
pub use units::{BlockNumber, ByteOffset, GroupNumber};
