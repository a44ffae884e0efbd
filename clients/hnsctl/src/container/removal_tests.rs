use std::os::unix::fs::symlink;
use std::process::Command;

use nix::sys::stat::mkdirat;

use super::*;

/// Tells the child, which is this test again, what to remove.
const REMOVED_BY_CHILD: &str = "HNSCTL_TEST_REMOVES";

/// Nests folders deeper than any path is long, each with a file and links that lead out.
fn nest(top: &Path, levels: usize, outside: &Path) {
    let mut folder = opened(AT_FDCWD, top).unwrap();
    for level in 0..levels {
        // Names that the removal would choose for itself, too.
        let name = CString::new(if level % 2 == 0 { "1".to_owned() } else { level.to_string() }).unwrap();
        nix::unistd::symlinkat(outside, &folder, c"link").unwrap();
        openat(&folder, c"2", OFlag::O_CREAT | OFlag::O_CLOEXEC, Mode::S_IRUSR).unwrap();
        mkdirat(&folder, name.as_c_str(), Mode::S_IRWXU).unwrap();
        folder = opened(&folder, name.as_c_str()).unwrap();
    }
}

#[test]
fn a_folder_is_removed_that_is_deeper_than_files_may_be_open() {
    if let Some(path) = std::env::var_os(REMOVED_BY_CHILD) {
        return remove(Path::new(&path)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let (outside, top) = (folder.path().join("outside"), folder.path().join("top"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "as it was").unwrap();
    fs::create_dir_all(top.join("rootfs/beside/empty")).unwrap();
    nest(&top.join("rootfs"), 3000, &outside);
    // The limit is a process's, so it is a child's.
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 16 && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "container::removal::tests::a_folder_is_removed_that_is_deeper_than_files_may_be_open",
        ])
        .env(REMOVED_BY_CHILD, &top)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(!top.exists(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "as it was");
}

#[test]
fn a_link_is_removed_and_not_what_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let (outside, link) = (folder.path().join("outside"), folder.path().join("link"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    symlink(&outside, &link).unwrap();
    remove(&link).unwrap();
    assert!(link.symlink_metadata().is_err());
    remove(&outside.join("kept")).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    remove(&outside.join("kept")).unwrap();
    remove(&outside.join("kept/below")).unwrap();
}

#[test]
fn an_entry_that_cannot_be_removed_hinders_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a/b/c", "stays/b/c", "z/b/c"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let top = opened(AT_FDCWD, folder.path()).unwrap();
    let mut removal = Removal::of(&top);
    let busy = |removal: &mut Removal<'_>, top: &OwnedFd, name: &CStr| match name.to_bytes() {
        b"stays" => Err(Errno::EBUSY),
        _ => removal.remove_of_top(top, name),
    };
    // Once for what is there, and again for what that has moved up.
    for _ in 0..2 {
        removal.for_each(&top, busy).unwrap();
        assert_eq!(removal.error, Some(Errno::EBUSY));
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["stays"]);
    assert!(folder.path().join("stays/b/c").is_dir());
}
