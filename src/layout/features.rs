//! The feature bits of the superblock and their names.
//!
//! Names are those dumpe2fs prints (measured, e2fsprogs 1.47), so that `grep` finds what it
//! always found. The bits are those of the kernel's `ext4.h`; `dirdata` (incompat 0x1000) is
//! Lustre's and unknown to stock e2fsprogs.

use std::fmt;

/// The three sets of feature bits of a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Features {
    /// `s_feature_compat`: a system that does not know a bit may read and write all the same.
    pub compat: u32,
    /// `s_feature_incompat`: a system that does not know a bit must not touch the file system.
    pub incompat: u32,
    /// `s_feature_ro_compat`: a system that does not know a bit may only read.
    pub ro_compat: u32,
}

/// Compat: only the groups in `s_backup_bgs` have backups.
pub const COMPAT_SPARSE_SUPER2: u32 = 0x200;
/// Incompat: group descriptors lie with the groups they describe.
pub const INCOMPAT_META_BG: u32 = 0x10;
/// Incompat: multiple-mount protection is on.
pub const INCOMPAT_MMP: u32 = 0x100;
/// Incompat: the journal must be replayed (`needs_recovery`).
pub const INCOMPAT_RECOVER: u32 = 0x4;
/// Incompat: this device is an external journal, not a file system.
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
/// Incompat: block numbers of 64 bits.
pub const INCOMPAT_64BIT: u32 = 0x80;
/// Incompat: the checksum seed is kept in `s_checksum_seed`.
pub const INCOMPAT_CSUM_SEED: u32 = 0x2000;
/// Ro-compat: only some groups have backups.
pub const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
/// Ro-compat: group descriptors carry crc16 checksums (`uninit_bg`).
pub const RO_COMPAT_GDT_CSUM: u32 = 0x10;
/// Ro-compat: the bitmaps count clusters of several blocks.
pub const RO_COMPAT_BIGALLOC: u32 = 0x200;
/// Ro-compat: metadata carries crc32c checksums.
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// Ro-compat: the orphan file may list files; set while mounted.
pub const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x10000;

/// Incompat and ro-compat features under which descriptors, block bitmaps and the superblock mean
/// what this suite takes them to mean, whatever else the feature is about. Compression and the
/// snapshots of old kernels are not among them.
const UNDERSTOOD_INCOMPAT: u32 = 0x3_F7DE;
const UNDERSTOOD_RO_COMPAT: u32 = 0x1_F77B;

/// Bits and their names.
type Table = [(u32, &'static str)];

const COMPAT: &Table = &[
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (0x4, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x40, "lazy_bg"),
    (0x100, "snapshot_bitmap"),
    (COMPAT_SPARSE_SUPER2, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];

const INCOMPAT: &Table = &[
    (0x1, "compression"),
    (0x2, "filetype"),
    (INCOMPAT_RECOVER, "needs_recovery"),
    (INCOMPAT_JOURNAL_DEV, "journal_dev"),
    (INCOMPAT_META_BG, "meta_bg"),
    (0x40, "extent"),
    (INCOMPAT_64BIT, "64bit"),
    (INCOMPAT_MMP, "mmp"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (INCOMPAT_CSUM_SEED, "metadata_csum_seed"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x10000, "encrypt"),
    (0x20000, "casefold"),
];

const RO_COMPAT: &Table = &[
    (RO_COMPAT_SPARSE_SUPER, "sparse_super"),
    (0x2, "large_file"),
    (0x8, "huge_file"),
    (RO_COMPAT_GDT_CSUM, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x100, "quota"),
    (RO_COMPAT_BIGALLOC, "bigalloc"),
    (RO_COMPAT_METADATA_CSUM, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (RO_COMPAT_ORPHAN_PRESENT, "orphan_present"),
];

/// The sets in the order dumpe2fs prints them, with the letter it gives unknown bits of each.
fn sets(features: &Features) -> [(u32, &'static Table, char); 3] {
    [
        (features.compat, COMPAT, 'C'),
        (features.incompat, INCOMPAT, 'I'),
        (features.ro_compat, RO_COMPAT, 'R'),
    ]
}

impl Features {
    /// Whether multiple-mount protection is on.
    pub fn mmp(&self) -> bool {
        self.incompat & INCOMPAT_MMP != 0
    }

    /// Whether this is an external journal, which has a superblock but no files.
    pub fn is_journal(&self) -> bool {
        self.incompat & INCOMPAT_JOURNAL_DEV != 0
    }

    /// Whether metadata carries crc32c checksums.
    pub fn metadata_csum(&self) -> bool {
        self.ro_compat & RO_COMPAT_METADATA_CSUM != 0
    }

    /// Whether block numbers have 64 bits.
    pub fn is_64bit(&self) -> bool {
        self.incompat & INCOMPAT_64BIT != 0
    }

    /// The features that forbid a change because this suite does not know what they do to the
    /// metadata it would write.
    pub fn not_understood(&self) -> Features {
        Features {
            compat: 0,
            incompat: self.incompat & !UNDERSTOOD_INCOMPAT,
            ro_compat: self.ro_compat & !UNDERSTOOD_RO_COMPAT,
        }
    }

    /// The features set, by name; a bit without a name as `FEATURE_C12`, the way dumpe2fs does.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (bits, table, letter) in sets(self) {
            for bit in (0..32).filter(|bit| bits & (1 << bit) != 0) {
                let known = table.iter().find(|(mask, _)| *mask == 1 << bit);
                names.push(match known {
                    Some((_, name)) => (*name).to_owned(),
                    None => format!("FEATURE_{letter}{bit}"),
                });
            }
        }
        names
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        f.write_str(if names.is_empty() { "(none)" } else { "" })?;
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::Features;

    #[test]
    fn every_bit_has_a_name_or_a_number() {
        let all = Features { compat: !0, incompat: !0, ro_compat: !0 };
        assert_eq!(all.names().len(), 96);
        let lustre = Features { compat: 0, incompat: 0x1100, ro_compat: 0x8000_0000 };
        assert_eq!(lustre.to_string(), "mmp dirdata FEATURE_R31");
    }
}
