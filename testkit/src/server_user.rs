//! The user that servers run as which refuse to run as root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::User;

/// The user `postgres`, if this process is root's; else servers run as its own user.
pub(crate) fn server_user() -> Option<User> {
    nix::unistd::geteuid().is_root().then(|| {
        User::from_name("postgres")
            .expect("users can be looked up")
            .expect("PostgreSQL does not run as root: there is a user postgres")
    })
}

/// Makes `user` the owner of a file or folder.
pub(crate) fn give(path: &Path, user: &User) {
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .expect("root may give a file away");
}

/// Has `command` run as `user`.
pub(crate) fn run_as(command: &mut Command, user: &User) {
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
}
