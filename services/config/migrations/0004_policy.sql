-- What the installation says about single paths of every config.
create table field_definitions (
    path text primary key,
    definition jsonb not null check (jsonb_typeof(definition) = 'object'),
    version bigint not null check (version > 0),
    updated_at timestamptz not null,
    updated_by text not null
);

-- What an org says about the configs of its nodes; goes with the org.
create table security_policies (
    org_id subject_token primary key,
    root_id subject_token not null check (root_id = org_id),
    policy jsonb not null check (jsonb_typeof(policy) = 'object'),
    version bigint not null check (version > 0),
    updated_at timestamptz not null,
    updated_by text not null,
    foreign key (org_id, root_id) references nodes (org_id, node_id) on delete cascade
);

-- Every version of both. No foreign keys: the record outlives what it is about.
create table rule_history (
    history_id bigint generated always as identity primary key,
    -- Of a security policy; null for a field definition.
    org_id subject_token,
    -- Of a field definition; null for a security policy.
    path text,
    version bigint not null,
    what text not null check (what in ('created', 'updated', 'deleted')),
    document jsonb not null,
    changed_at timestamptz not null,
    changed_by text not null,
    check ((org_id is null) <> (path is null))
);
create index rule_history_of_org on rule_history (org_id, version desc) where org_id is not null;
create index rule_history_of_path on rule_history (path, version desc) where path is not null;

-- Changes that wait for somebody else, whole, with what became of them. No foreign key to nodes: the record stays.
create table pending_changes (
    change_id text primary key check (length(change_id) between 1 and 128),
    org_id subject_token not null,
    node_id subject_token not null,
    change_type text not null check (change_type in ('prompt', 'tools', 'mcp', 'config', 'knowledge')),
    -- Of all its paths that need approval.
    change_types text[] not null,
    change_path text not null,
    previous_value jsonb,
    proposed_value jsonb,
    -- What is to be written, each with the version that it was made for; empty: the approval itself is all.
    requests jsonb not null check (jsonb_typeof(requests) = 'array'),
    diff jsonb not null,
    requested_by text not null,
    requested_at timestamptz not null,
    reason text not null,
    status text not null check (status in ('pending', 'approved', 'rejected')),
    reviewed_by text,
    reviewed_at timestamptz,
    review_comment text,
    -- Of the node, once it is applied.
    applied_version bigint,
    check ((status = 'pending') = (reviewed_by is null)),
    check ((status = 'pending') = (reviewed_at is null)),
    -- Four eyes, whatever a program does.
    check (reviewed_by <> requested_by)
);
create index pending_changes_of_org on pending_changes (org_id, requested_at desc, change_id);
create index pending_changes_of_node on pending_changes (org_id, node_id, requested_at desc);

-- What the last validation of a node found.
create table validation_statuses (
    org_id subject_token not null,
    node_id subject_token not null,
    node_version bigint not null,
    valid boolean not null,
    missing jsonb not null,
    errors jsonb not null,
    checked_at timestamptz not null,
    checked_by text not null,
    primary key (org_id, node_id),
    foreign key (org_id, node_id) references nodes (org_id, node_id) on delete cascade
);
create index validation_statuses_invalid on validation_statuses (org_id) where not valid;

-- Actions that an agent proposes and people decide on.
create table remediations (
    remediation_id text primary key check (remediation_id ~ '^rem-[0-9a-f]{12}$'),
    org_id subject_token not null,
    team_id subject_token not null,
    proposal jsonb not null check (jsonb_typeof(proposal) = 'object'),
    proposed_by text not null,
    proposed_at timestamptz not null,
    status text not null check (status in ('pending', 'approved', 'rejected', 'executed', 'failed')),
    reviewed_by text,
    reviewed_at timestamptz,
    review_comment text,
    finished_at timestamptz,
    result jsonb,
    -- The remediation that this one takes back; one at most does.
    rolls_back text unique references remediations (remediation_id),
    check ((status = 'pending') = (reviewed_by is null)),
    check (reviewed_by <> proposed_by),
    check ((status in ('executed', 'failed')) = (finished_at is not null))
);
create index remediations_of_team on remediations (org_id, team_id, proposed_at desc);
