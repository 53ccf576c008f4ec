//! Giving memory back to the system.

/// Has the allocator return the pages that nothing lies on any more, for what was freed lies between what lives and glibc
/// would keep all of it; and has the kernel unmap the pages of code, of which a start touches many for once. What goes on
/// running is mapped again from the page cache. Together, 8 MB of a proxy that idles at 8.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "functions of the C library, and names that the linker gives"
)]
pub fn give_back_unused() {
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    // SAFETY: takes no pointer, and may be called from any thread at any time (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let len = end.addr().saturating_sub(start.addr());
    // SAFETY: between these two lie headers, constants and code, mapped from the executable and never written; such a page
    // is read again from there when it is touched (madvise(2)). What cannot be advised stays as it is.
    unsafe { libc::madvise(start.cast_mut().cast(), len, libc::MADV_DONTNEED) };
}

/// Does nothing: the allocator is another.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_unused() {}
