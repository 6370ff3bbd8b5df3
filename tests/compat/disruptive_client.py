"""The library of Disruptive Technologies, unmodified, with a credentials file as it reads it from DT_CREDENTIALS_FILE.

usage: disruptive_client.py CREDENTIALS_FILE URL COMMAND ...

    every PROJECT ORGANIZATION   calls every method of accounts, keys, members, roles and permissions; the credential must be
                                 that of an administrator of the organization
    failures PROJECT             lets the server answer with each error, and tells what the library makes of it; the server
                                 must serve /faults
    make PROJECT FILE            makes an account that may look at the project and log in by basic auth, and writes FILE, the
                                 credential of a key of it
    basic PROJECT ID on|off      lets the keys of an account be names and passwords, or not
    keys PROJECT ID              lists the keys of an account
    use PROJECT                  logs in and asks what the account may do in the project: {"token_length", "expiry",
                                 "permissions"}, or {"refused": the library's word for it}

Prints one JSON object. No secret is printed.
"""

import json
import os
import sys
import time
from importlib import metadata

import requests

# Read by the library when it is imported.
os.environ["DT_CREDENTIALS_FILE"] = sys.argv[1] if len(sys.argv) > 1 else ""

if len(sys.argv) > 3:
    import disruptive as dt
    from disruptive import errors

# More than the server shows on a page.
MANY = 101


def refused(error: type, call, *arguments: object, **named: object) -> None:
    """The call must fail in this way."""
    try:
        call(*arguments, **named)
    except error:
        return
    raise AssertionError(f"{call.__name__} did not raise {error.__name__}")


def accounts_and_keys(project: str) -> dict:
    sa = dt.ServiceAccount
    account = sa.create_service_account(project, "billing", basic_auth_enabled=True)
    assert account.display_name == "billing" and account.basic_auth_enabled
    assert account.email == f"{account.service_account_id}@{project}.serviceaccount.d21s.com"
    assert account.create_time == account.update_time
    at = {"service_account_id": account.service_account_id, "project_id": project}
    assert sa.get_service_account(**at).raw == account.raw
    changed = sa.update_service_account(**at, display_name="new", basic_auth_enabled=False)
    assert (changed.display_name, changed.basic_auth_enabled) == ("new", False)
    assert sa.create_service_account(project).display_name == ""
    key = sa.create_key(**at)
    assert len(key.secret) == 32 and len(key.key_id) == 20
    shown = sa.get_key(key.key_id, **at)
    assert (shown.key_id, shown.secret) == (key.key_id, None)
    second = sa.create_key(**at)
    assert {one.key_id for one in sa.list_keys(**at)} == {key.key_id, second.key_id}

    # The key works, and after its end it does not.
    login = dt.Auth.service_account(key.key_id, key.secret, account.email)
    login.token_endpoint = dt.default_auth.token_endpoint
    assert dt.Project.list_permissions(project, auth=login) == [], "a new account may do nothing"
    refused(errors.Forbidden, sa.list_service_accounts, project, auth=login)
    sa.delete_key(key.key_id, **at)
    refused(errors.NotFound, sa.get_key, key.key_id, **at)
    login._expiration = 0
    refused(errors.Unauthorized, login.get_token)
    return at


def members(project: str, organization: str, email: str) -> None:
    in_project, above = dt.Project, dt.Organization
    role = dt.Role.PROJECT_DEVELOPER
    member = in_project.add_member(project, email, [role])
    assert (member.roles, member.status, member.account_type) == ([role], "ACCEPTED", "SERVICE_ACCOUNT")
    at = {"member_id": member.member_id, "project_id": project}
    assert in_project.get_member(**at).raw == member.raw
    refused(errors.Conflict, in_project.add_member, project, email, [role])
    assert in_project.update_member(**at, roles=[dt.Role.PROJECT_ADMIN]).roles == [dt.Role.PROJECT_ADMIN]
    assert [one.member_id for one in in_project.list_members(project)] == [member.member_id]
    refused(errors.BadRequest, in_project.get_member_invite_url, **at)
    in_project.remove_member(**at)
    refused(errors.NotFound, in_project.get_member, **at)
    person = in_project.add_member(project, "somebody@example.com", [dt.Role.PROJECT_USER])
    assert (person.status, person.account_type) == ("PENDING", "USER")
    assert in_project.get_member_invite_url(person.member_id, project).startswith("http")

    admin = above.add_member(organization, email, [dt.Role.ORGANIZATION_ADMIN])
    at = {"member_id": admin.member_id, "organization_id": organization}
    assert above.get_member(**at).raw == admin.raw
    assert admin.member_id in [one.member_id for one in above.list_members(organization)]
    refused(errors.BadRequest, above.get_member_invite_url, **at)
    above.remove_member(**at)
    refused(errors.NotFound, above.get_member, **at)
    person = above.add_member(organization, "somebody@example.com", [dt.Role.ORGANIZATION_ADMIN])
    assert above.get_member_invite_url(person.member_id, organization).startswith("http")


def every(project: str, organization: str) -> dict:
    at = accounts_and_keys(project)
    email = dt.ServiceAccount.get_service_account(**at).email
    members(project, organization, email)
    assert {role.role for role in dt.Role.list_roles()} == set(dt.Role.ROLES)
    admin = dt.Role.get_role(dt.Role.PROJECT_ADMIN)
    assert "serviceaccount.key.create" in admin.permissions
    assert set(admin.permissions) < set(dt.Project.list_permissions(project))
    assert "organization.update" in dt.Organization.list_permissions(organization)

    # After a list of several pages the library sends the last page's token with every other list, too.
    made = [dt.ServiceAccount.create_service_account(project, f"{number}") for number in range(MANY)]
    listed = {one.service_account_id for one in dt.ServiceAccount.list_service_accounts(project)}
    assert listed.issuperset(one.service_account_id for one in made), len(listed)
    assert len(dt.ServiceAccount.list_keys(**at)) == 1
    assert len(dt.Project.list_members(project)) == 1
    assert len(dt.Role.list_roles()) == len(dt.Role.ROLES)

    dt.ServiceAccount.delete_service_account(**at)
    refused(errors.NotFound, dt.ServiceAccount.get_service_account, **at)
    return {}


def failures(project: str) -> dict:
    """Every failing call, and how long the library would have waited before each further request."""
    account = dt.ServiceAccount.create_service_account(project)
    faults = sys.argv[2] + "/faults"
    raised, waits = {}, {}
    slept: list[float] = []
    time.sleep = slept.append
    for status in [400, 401, 403, 404, 409, 429, 500, 503, 504]:
        fail = {"status": status, "canonical": "", "message": "as you wish"}
        if status == 429:
            fail["retry_after"] = "7"
        fault = {"operation": "disruptive.accounts.get", "action": {"fail": fail}, "times": 9}
        requests.put(faults, json=fault, timeout=3).raise_for_status()
        slept.clear()
        try:
            dt.ServiceAccount.get_service_account(account.service_account_id, project)
        except errors.DTApiError as error:
            raised[status] = type(error).__name__
        waits[status] = list(slept)
        requests.delete(faults, timeout=3).raise_for_status()
    dt.ServiceAccount.get_service_account(account.service_account_id, project)
    return {"raised": raised, "waits": waits}


def make(project: str, path: str) -> dict:
    account = dt.ServiceAccount.create_service_account(project, "by hand", basic_auth_enabled=True)
    dt.Project.add_member(project, account.email, [dt.Role.PROJECT_USER])
    key = dt.ServiceAccount.create_key(account.service_account_id, project)
    told = {"keyId": key.key_id, "secret": key.secret, "email": account.email, "algorithm": "HS256"}
    told["tokenEndpoint"] = dt.default_auth.token_endpoint
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump({"serviceAccount": told}, file)
    return {"id": account.service_account_id, "email": account.email}


def basic(project: str, account: str, state: str) -> dict:
    changed = dt.ServiceAccount.update_service_account(account, project, basic_auth_enabled=state == "on")
    return {"basic": changed.basic_auth_enabled}


def keys(project: str, account: str) -> dict:
    return {"keys": [key.key_id for key in dt.ServiceAccount.list_keys(account, project)]}


def use(project: str) -> dict:
    try:
        permissions = dt.Project.list_permissions(project)
    except errors.Unauthorized:
        return {"refused": "Unauthorized"}
    auth = dt.default_auth
    expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(auth._expiration))
    return {"token_length": len(auth.get_token()), "expiry": expiry, "permissions": permissions}


COMMANDS = {"every": (every, 2), "failures": (failures, 1), "make": (make, 2), "basic": (basic, 3), "keys": (keys, 2), "use": (use, 1)}


def main(url: str, command: str, *arguments: str) -> int:
    dt.base_url = url + "/v2"
    # Settings of the library's own. A busy machine may take longer than the 3 s that it waits by itself.
    dt.request_timeout = 30
    told = COMMANDS[command][0](*arguments)
    print(json.dumps({"version": metadata.version("disruptive"), **told}))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4 or COMMANDS.get(sys.argv[3], (None, -1))[1] != len(sys.argv) - 4:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[2:]))
