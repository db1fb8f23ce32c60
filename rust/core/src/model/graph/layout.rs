//! Where the groups of channels of a row stand.

/// Channels side by side: two AVX registers of f32, four of f64. Every block of channels is padded to whole groups by zeros.
pub const GROUP: usize = 16;

/// Groups of `channels` channels.
pub const fn groups(channels: usize) -> usize {
    channels.div_ceil(GROUP)
}

/// Rows of groups: `blocks` groups lie one after the other, the next `blocks` of them `group` values further on.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// From row to row.
    pub row: usize,
    /// Place of the first group within its row.
    pub first: usize,
    pub blocks: usize,
    pub group: usize,
}

/// Rows to read.
#[derive(Clone, Copy)]
pub struct RowsRef<'a, T> {
    pub data: &'a [T],
    pub layout: Layout,
}

/// Rows to write.
pub struct RowsMut<'a, T> {
    pub data: &'a mut [T],
    pub layout: Layout,
}

impl Layout {
    #[inline(always)]
    pub fn place(&self, group: usize) -> usize {
        self.first + group / self.blocks * self.group + group % self.blocks * GROUP
    }

    pub fn of<T>(self, data: &[T]) -> RowsRef<'_, T> {
        RowsRef { data, layout: self }
    }

    pub fn of_mut<T>(self, data: &mut [T]) -> RowsMut<'_, T> {
        RowsMut { data, layout: self }
    }
}

#[inline(always)]
pub(super) fn group_at<T>(data: &[T], at: usize) -> &[T; GROUP] {
    let Some(group) = data[at..].first_chunk() else { panic!("a group of channels leaves its row") };
    group
}

impl<'a, T> RowsRef<'a, T> {
    #[inline(always)]
    pub fn group(&self, row: usize, place: usize) -> &'a [T; GROUP] {
        group_at(self.data, row * self.layout.row + place)
    }
}

impl<T> RowsMut<'_, T> {
    #[inline(always)]
    pub fn group(&self, row: usize, place: usize) -> &[T; GROUP] {
        group_at(self.data, row * self.layout.row + place)
    }

    #[inline(always)]
    pub fn group_mut(&mut self, row: usize, place: usize) -> &mut [T; GROUP] {
        let Some(group) = self.data[row * self.layout.row + place..].first_chunk_mut() else {
            panic!("a group of channels leaves its row")
        };
        group
    }
}
