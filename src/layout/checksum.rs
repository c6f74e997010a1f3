//! The checksums of ext4's metadata.

/// crc32c as ext4 uses it: started from `seed` and not inverted at the end.
///
/// The usual crc32c inverts its value before and after; ext4 does neither, and passes `!0` or a
/// checksum seed as the start value. Source: measured against mke2fs images, see `tests/`.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    !::crc32c::crc32c_append(!seed, data)
}

/// crc16 as ext4's older descriptor checksum uses it: the reflected polynomial 0xA001 (CRC-16/ARC),
/// started from `seed` and not inverted. Source: the kernel's `lib/crc16.c`.
pub fn crc16(seed: u16, data: &[u8]) -> u16 {
    data.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| (crc >> 1) ^ (0xA001 * (crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::{crc16, crc32c};

    #[test]
    fn crc16_is_the_catalogues_arc() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
        assert_eq!(crc16(crc16(!0, b"1234"), b"56789"), crc16(!0, b"123456789"));
    }

    #[test]
    fn is_the_standard_sum_without_its_inversions() {
        // "123456789" is the catalogue's check input; crc32c/iSCSI gives 0xe3069283 for it.
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn goes_on_where_it_stopped() {
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }
}
