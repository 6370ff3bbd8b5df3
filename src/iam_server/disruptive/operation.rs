//! The methods that are served: their names and the permission that each needs.

/// A method, as faults and the request log name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Such as `disruptive.keys.create`.
    pub name: &'static str,
    /// The permission that it needs; empty where whoever is logged in may call it.
    pub permission: &'static str,
}

macro_rules! operations {
    ($($constant:ident = $name:literal, $permission:literal;)*) => {
        impl Operation {
            $(#[doc = concat!("`", $name, "`")]
            pub const $constant: Self = Self { name: $name, permission: $permission };)*

            /// All that faults can be aimed at.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

operations! {
    ACCOUNTS_CREATE = "disruptive.accounts.create", "serviceaccount.create";
    ACCOUNTS_LIST = "disruptive.accounts.list", "serviceaccount.read";
    ACCOUNTS_GET = "disruptive.accounts.get", "serviceaccount.read";
    ACCOUNTS_PATCH = "disruptive.accounts.patch", "serviceaccount.update";
    ACCOUNTS_DELETE = "disruptive.accounts.delete", "serviceaccount.delete";
    KEYS_CREATE = "disruptive.keys.create", "serviceaccount.key.create";
    KEYS_LIST = "disruptive.keys.list", "serviceaccount.key.read";
    KEYS_GET = "disruptive.keys.get", "serviceaccount.key.read";
    KEYS_DELETE = "disruptive.keys.delete", "serviceaccount.key.delete";
    MEMBERS_CREATE = "disruptive.members.create", "membership.create";
    MEMBERS_LIST = "disruptive.members.list", "membership.read";
    MEMBERS_GET = "disruptive.members.get", "membership.read";
    MEMBERS_PATCH = "disruptive.members.patch", "membership.update";
    MEMBERS_DELETE = "disruptive.members.delete", "membership.delete";
    MEMBERS_INVITE_URL = "disruptive.members.getInviteUrl", "membership.create";
    MEMBERS_LIST_ALL = "disruptive.members.listAll", "membership.read";
    MEMBERS_BATCH_CREATE = "disruptive.members.batchCreate", "membership.create";
    MEMBERS_BATCH_DELETE = "disruptive.members.batchDelete", "membership.delete";
    PERMISSIONS_LIST = "disruptive.permissions.list", "";
    ROLES_LIST = "disruptive.roles.list", "";
    ROLES_GET = "disruptive.roles.get", "";
    TOKEN = "disruptive.token", "";
}
