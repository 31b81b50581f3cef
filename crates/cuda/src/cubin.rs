//! What a file of machine code says of its kernels. It is an ELF file of 64 bits, little-endian; each kernel's code is a
//! section `.text.NAME`.

/// The names of the kernels of a file, in order, or none if it isn't machine code.
pub fn kernels(code: &[u8]) -> Option<Vec<String>> {
    if !code.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let bytes = |at: usize, count: usize| code.get(at..at.checked_add(count)?);
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes(at, 2)?.try_into().ok()?) as usize);
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes(at, 4)?.try_into().ok()?));
    let u64_at = |at: usize| usize::try_from(u64::from_le_bytes(bytes(at, 8)?.try_into().ok()?)).ok();
    // e_shoff, e_shentsize, e_shnum, e_shstrndx.
    let (table, size, count, names) = (u64_at(0x28)?, u16_at(0x3a)?, u16_at(0x3c)?, u16_at(0x3e)?);
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    // sh_offset and sh_size.
    let place =
        |index: usize| Some((u64_at(header(index)?.checked_add(0x18)?)?, u64_at(header(index)?.checked_add(0x20)?)?));
    let (names_at, names_size) = place(names)?;
    let names = bytes(names_at, names_size)?;
    let mut kernels = Vec::new();
    for index in 0..count {
        let at = header(index)?;
        let name = names.get(u32_at(at)? as usize..)?.split(|&byte| byte == 0).next()?;
        let Some(name) = std::str::from_utf8(name).ok()?.strip_prefix(".text.") else { continue };
        kernels.push(name.to_owned());
    }
    kernels.sort();
    Some(kernels)
}
