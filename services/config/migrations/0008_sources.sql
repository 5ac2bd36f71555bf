-- Senders of an org, each with a URL of its own. They hang on the org's own node and go with it.
create table sources (
    source_id text primary key check (source_id ~ '^src_[0-9a-f]{24}$'),
    org_id subject_token not null,
    root_id subject_token not null,
    kind text not null default 'org' check (kind = 'org'),
    provider subject_token not null,
    name text not null check (length(name) between 1 and 63),
    disabled boolean not null default false,
    settings jsonb not null check (jsonb_typeof(settings) = 'object'),
    version bigint not null check (version > 0),
    -- Number of its newest secret; numbers are never given twice, so that records of their use stay true.
    last_secret integer not null check (last_secret > 0),
    created_at timestamptz not null,
    created_by text not null,
    updated_at timestamptz not null,
    updated_by text not null,
    check (root_id = org_id),
    unique (source_id, org_id, root_id),
    foreign key (org_id, root_id, kind) references nodes (org_id, node_id, kind) on delete cascade
);
create unique index sources_by_name on sources (org_id, provider, name);

-- When each secret of a source counts. The value is a secret of the org's own node, which stays while a source has it.
create table source_secrets (
    source_id text not null,
    secret_id integer not null check (secret_id > 0),
    org_id subject_token not null,
    root_id subject_token not null,
    secret_name text not null,
    secret_version bigint not null check (secret_version > 0),
    not_before timestamptz,
    expires timestamptz,
    created_at timestamptz not null,
    created_by text not null,
    check (not_before < expires),
    primary key (source_id, secret_id),
    foreign key (source_id, org_id, root_id) references sources (source_id, org_id, root_id) on delete cascade,
    -- At commit: an org takes both with it.
    foreign key (org_id, root_id, secret_name) references secrets (org_id, node_id, name) deferrable initially deferred
);

-- Every version of every source, never a secret's value. No foreign key: it outlives the source, and says which records lie
-- on the bus of an org that is gone.
create table source_history (
    org_id subject_token not null,
    source_id text not null,
    version bigint not null check (version > 0),
    what text not null check (what in ('created', 'updated', 'secret_added', 'secret_removed', 'deleted')),
    facts jsonb not null check (jsonb_typeof(facts) = 'object'),
    changed_by text not null,
    changed_at timestamptz not null,
    primary key (source_id, version)
);
create index source_history_of_org on source_history (org_id);
