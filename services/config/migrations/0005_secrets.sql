-- Values under envelope encryption: each under a data key of its own, which is wrapped under a master key that is not here.
-- Owner, name, version and audience are bound to both ciphertexts, so a row that is moved, relabelled or put back does not open.
create table secrets (
    org_id subject_token not null,
    node_id subject_token not null,
    name text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    version bigint not null check (version > 0),
    audience text not null check (audience ~ '^(ingress|worker\.[a-z0-9][a-z0-9_-]{0,62})$'),
    master_key_id text not null,
    wrapped_key bytea not null check (length(wrapped_key) = 72),
    value bytea not null check (length(value) > 40),
    updated_at timestamptz not null,
    updated_by text not null,
    primary key (org_id, node_id, name),
    foreign key (org_id, node_id) references nodes (org_id, node_id) on delete cascade
);
-- What a rotation of the master key has left to do.
create index secrets_under on secrets (master_key_id);

-- Who set and deleted what, never a value. No foreign key: it outlives the node, so that versions never repeat.
create table secret_history (
    org_id subject_token not null,
    node_id subject_token not null,
    name text not null,
    version bigint not null check (version > 0),
    what text not null check (what in ('set', 'deleted')),
    audience text not null,
    changed_by text not null,
    changed_at timestamptz not null,
    primary key (org_id, node_id, name, version)
);
