-- A claim is set on a node (its source) and leads to a team: for a team's own lists both are the team, for the
-- lists of a unit or org the team is its `routing.default_team`. Who set it and when is shown to who meets it.
alter table routing_identifiers
    add column source_id subject_token,
    add column set_by text,
    add column set_at timestamptz;
update routing_identifiers as claim
    set source_id = claim.team_id, set_by = nodes.updated_by, set_at = nodes.updated_at
    from nodes where nodes.org_id = claim.org_id and nodes.node_id = claim.team_id;
alter table routing_identifiers
    alter column source_id set not null,
    alter column set_by set not null,
    alter column set_at set not null,
    drop constraint routing_identifiers_org_id_team_id_team_kind_fkey,
    -- Goes with the node that lists it …
    add foreign key (org_id, source_id) references nodes (org_id, node_id) on delete cascade,
    -- … and never leads nowhere. At commit: a unit and its team may go in one transaction.
    add foreign key (org_id, team_id, team_kind) references nodes (org_id, node_id, kind)
        deferrable initially deferred;
create index routing_identifiers_of_source on routing_identifiers (org_id, source_id);
-- Neighbours of a value that nobody claims: by their beginning, and by their end.
create index routing_identifiers_by_prefix on routing_identifiers (org_id, type, (lower(value) collate "C"));
create index routing_identifiers_by_suffix on routing_identifiers (org_id, type, (reverse(lower(value)) collate "C"));

-- What admins add to the templates that the program ships.
create table templates (
    template_id uuid primary key,
    slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text not null,
    description text not null,
    category text not null,
    template jsonb not null check (jsonb_typeof(template) = 'object'),
    required_mcps text[] not null,
    required_tools text[] not null,
    version integer not null check (version > 0),
    created_at timestamptz not null,
    created_by text not null,
    updated_at timestamptz not null,
    updated_by text not null
);

-- Which template a node follows, and what it replaced there, so that it can be taken back. No foreign key to
-- templates: the shipped ones are not in the database, and a use outlives a template that is deleted.
create table template_applications (
    application_id uuid primary key,
    org_id subject_token not null,
    node_id subject_token not null,
    template_id text not null,
    slug text not null,
    template_version integer not null,
    -- The node's own config before and after, and the version that the application became.
    before_config jsonb not null,
    after_config jsonb not null,
    node_version bigint not null,
    applied_at timestamptz not null,
    applied_by text not null,
    ended_at timestamptz,
    ended_by text,
    ended_as text check (ended_as in ('replaced', 'reverted')),
    check ((ended_at is null) = (ended_as is null)),
    check ((ended_at is null) = (ended_by is null)),
    foreign key (org_id, node_id) references nodes (org_id, node_id) on delete cascade
);
-- One active template per node.
create unique index template_applications_active on template_applications (org_id, node_id) where ended_at is null;
create index template_applications_of_template on template_applications (template_id, applied_at desc);

-- Last live test of an integration at a node: health without calling the vendor at every look.
create table integration_tests (
    org_id subject_token not null,
    node_id subject_token not null,
    integration text not null,
    success boolean not null,
    message text not null,
    tested_at timestamptz not null,
    tested_by text not null,
    primary key (org_id, node_id, integration),
    foreign key (org_id, node_id) references nodes (org_id, node_id) on delete cascade
);
