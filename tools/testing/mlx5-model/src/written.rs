// SPDX-License-Identifier: GPL-2.0

//! The truth: which bytes a function wrote. It knows nothing of trackers, pages and ranges.

use std::collections::BTreeMap;
use std::mem;

/// More extents than a line of the control socket should have.
const MAX_EXTENTS: usize = 1 << 16;

/// Bytes written, as extents that do not touch.
#[derive(Debug, Default)]
pub struct Written {
    /// First and last byte.
    extents: BTreeMap<u64, u64>,
    overflow: bool,
}

impl Written {
    /// Some bytes were written.
    pub fn record(&mut self, iova: u64, len: u64) {
        let Some(mut last) = len.checked_sub(1).and_then(|more| iova.checked_add(more)) else {
            return;
        };
        let mut first = iova;
        // All that overlaps or touches becomes one.
        while let Some((start, end)) = self.extents.range(..=last.saturating_add(1)).next_back() {
            let (start, end) = (*start, *end);
            if end.saturating_add(1) < first {
                break;
            }
            self.extents.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        if self.extents.len() < MAX_EXTENTS {
            self.extents.insert(first, last);
        } else {
            self.overflow = true;
        }
    }

    /// Everything since the last time; `None` if it was too much.
    pub fn take(&mut self) -> Option<Vec<(u64, u64)>> {
        let Self { extents, overflow } = mem::take(self);
        (!overflow).then(|| extents.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_are_the_bytes(writes in prop::collection::vec((0..200u64, 0..20u64), 0..40)) {
            let mut written = Written::default();
            let mut bytes = [false; 256];
            for (iova, len) in writes {
                written.record(iova, len);
                bytes[iova as usize..(iova + len) as usize].fill(true);
            }
            let extents = written.take().expect("few");
            prop_assert!(extents.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            for (byte, is_written) in bytes.into_iter().enumerate() {
                let byte = byte as u64;
                let found = extents.iter().any(|(first, last)| (*first..=*last).contains(&byte));
                prop_assert_eq!(found, is_written);
            }
            prop_assert_eq!(written.take(), Some(Vec::new()));
        }
    }
}
