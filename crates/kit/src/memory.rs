//! How the process takes memory from the kernel.

/// Small pages only, for the whole process and from now on; to be called before anything else.
///
/// With transparent huge pages each thread's first allocations hold megabytes: an idle service takes 13 MiB
/// instead of 6 (`./dev bench idle`), and is no faster for it. Where the kernel refuses, or is not Linux,
/// nothing changes.
pub fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    {
        // There is no log yet, and nothing that a reader could do about it.
        let _refused = rustix::thread::disable_transparent_huge_pages(true);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_kernel_is_told() {
        super::without_huge_pages();
        assert_eq!(
            rustix::thread::transparent_huge_pages_are_disabled(),
            Ok(true)
        );
    }
}
