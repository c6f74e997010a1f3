//! Memory aligned as O_DIRECT wants it.

use std::ops::{Deref, DerefMut};

/// Bytes whose first address is a multiple of their alignment.
#[derive(Debug)]
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    align: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `align`, in bytes, must be a power of two.
    pub(super) fn new(len: usize, align: usize) -> Self {
        AlignedBuffer { memory: vec![0; len + align], align, len }
    }

    fn start(&self) -> usize {
        self.memory.as_ptr().align_offset(self.align)
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.start();
        &self.memory[start..start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.memory[start..start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedBuffer;

    #[test]
    fn is_aligned_and_as_long_as_asked() {
        for align in [512, 4096, 65536] {
            let buffer = AlignedBuffer::new(1024, align);
            assert_eq!(buffer.as_ptr() as usize % align, 0);
            assert_eq!(buffer.len(), 1024);
        }
    }
}
