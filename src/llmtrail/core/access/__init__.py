"""Who may do what: scopes, grants, and one authentication for every port. Pure: time and hashes are arguments."""
