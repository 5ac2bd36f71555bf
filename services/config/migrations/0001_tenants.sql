-- Ids that may stand in a subject. The two refused ones stand for "no tenant" and "no configured source" on the bus.
create domain subject_token as text
    check (value ~ '^[a-z0-9][a-z0-9_-]{0,62}$' and value not in ('unrouted', 'shared'));

-- The tree of tenants with each node's own config. Its shape is kept here and not only in code:
-- a parent is in the same org, exists, is no team, and stays while something hangs below it.
create table nodes (
    org_id subject_token not null,
    node_id subject_token not null,
    kind text not null check (kind in ('org', 'unit', 'team')),
    parent_id subject_token,
    parent_kind text check (parent_kind in ('org', 'unit')),
    name text not null,
    version bigint not null check (version > 0),
    config jsonb not null check (jsonb_typeof(config) = 'object'),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    updated_by text not null,
    primary key (org_id, node_id),
    unique (org_id, node_id, kind),
    foreign key (org_id, parent_id, parent_kind) references nodes (org_id, node_id, kind),
    check ((kind = 'org') = (node_id = org_id)),
    check ((kind = 'org') = (parent_id is null)),
    check ((parent_id is null) = (parent_kind is null)),
    check (parent_id <> node_id)
);
create index nodes_below on nodes (org_id, parent_id);

-- Every version of every node, also of those that are gone: no foreign key.
create table node_history (
    org_id subject_token not null,
    node_id subject_token not null,
    version bigint not null check (version > 0),
    what text not null check (what in ('created', 'updated', 'deleted')),
    previous jsonb,
    config jsonb,
    diff jsonb not null,
    changed_by text not null,
    changed_at timestamptz not null,
    reason text not null,
    primary key (org_id, node_id, version)
);

-- What leads to a team: one owner per org and value. Derived from the team's own config in the transaction that writes it.
create table routing_identifiers (
    org_id subject_token not null,
    type text not null,
    value text not null check (length(value) between 1 and 512),
    team_id subject_token not null,
    team_kind text not null default 'team' check (team_kind = 'team'),
    primary key (org_id, type, value),
    foreign key (org_id, team_id, team_kind) references nodes (org_id, node_id, kind) on delete cascade
);
-- Lookups that name no org.
create index routing_identifiers_everywhere on routing_identifiers (type, value);
create index routing_identifiers_of_team on routing_identifiers (org_id, team_id);

-- Bearer tokens of teams. The hash is HMAC-SHA256 of the secret part under TOKEN_PEPPER; the secret is nowhere.
create table tokens (
    token_id uuid primary key,
    org_id subject_token not null,
    team_id subject_token not null,
    kind text not null check (kind = 'team'),
    hash bytea not null check (length(hash) = 32),
    permissions text[] not null,
    label text not null,
    issued_at timestamptz not null,
    issued_by text not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    foreign key (org_id, team_id, kind) references nodes (org_id, node_id, kind) on delete cascade
);
create index tokens_of_team on tokens (org_id, team_id, issued_at desc);

create table outbox (
    id bigint generated always as identity primary key,
    message_id text not null,
    subject text not null,
    headers jsonb not null,
    payload bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
