-- Tokens of org admins, beside those of teams: they hang on the org's own node. What they allow is in `permissions` too.
alter table tokens drop constraint tokens_kind_check;
alter table tokens add constraint tokens_kind_check check (kind in ('team', 'org'));
-- Of the person who signed in, for the sessions of single sign-on.
alter table tokens add column email text;
-- When its holder was last told that it ends soon.
alter table tokens add column warned_at timestamptz;
create index tokens_of_org on tokens (org_id, issued_at desc, token_id desc);
-- What the daily sweep looks at.
create index tokens_live on tokens (org_id) where revoked_at is null;

-- Every token that ended before its time, whatever ended it: a revocation, or the deletion of its team or org. Kept by
-- triggers, so that no way of ending a token can forget to tell the rooms that keep tokens in memory.
create table revocations (
    token_id uuid primary key,
    org_id subject_token not null,
    node_id subject_token not null,
    revoked_at timestamptz not null,
    published boolean not null default false
);
create index revocations_to_publish on revocations (revoked_at) where not published;
create index revocations_by_age on revocations (revoked_at);

create function note_revocation() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into revocations (token_id, org_id, node_id, revoked_at)
        values (old.token_id, old.org_id, old.team_id, clock_timestamp()) on conflict (token_id) do nothing;
        return old;
    end if;
    insert into revocations (token_id, org_id, node_id, revoked_at)
    values (new.token_id, new.org_id, new.team_id, new.revoked_at) on conflict (token_id) do nothing;
    return new;
end
$$;
create trigger a_deleted_token_is_revoked after delete on tokens
    for each row execute function note_revocation();
create trigger a_revoked_token_is_told after update of revoked_at on tokens
    for each row when (old.revoked_at is null and new.revoked_at is not null) execute function note_revocation();
create function keep_revoked() returns trigger language plpgsql as $$
begin
    raise exception 'token % is revoked, and stays so', old.token_id using errcode = 'integrity_constraint_violation';
end
$$;
create trigger what_is_revoked_stays_revoked before update of revoked_at on tokens
    for each row when (old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at)
    execute function keep_revoked();

-- What happened to tokens. Append-only, and it outlives the tokens: no foreign key.
create table token_events (
    id bigint generated always as identity primary key,
    org_id subject_token not null,
    -- Null for tokens of org admins.
    team_id subject_token,
    token_id uuid,
    event_type text not null check (event_type in (
        'issued', 'revoked', 'expired', 'extended', 'permission_denied', 'expiry_warning', 'auto_revoked_inactive')),
    event_at timestamptz not null,
    actor text not null,
    details jsonb not null check (jsonb_typeof(details) = 'object'),
    ip_address text
);
create index token_events_of_org on token_events (org_id, event_at desc, id desc);
create index token_events_of_token on token_events (token_id);

create function refuse_change_of_token_events() returns trigger language plpgsql as $$
begin
    raise exception 'token_events is append-only: % is refused', tg_op using errcode = 'insufficient_privilege';
end
$$;
create trigger token_events_are_append_only before update or delete on token_events
    for each row execute function refuse_change_of_token_events();
create trigger token_events_are_not_truncated before truncate on token_events
    for each statement execute function refuse_change_of_token_events();

-- Impersonation tokens that were given out, where the operator wants them known (IMPERSONATION_JTI_DB_LOGGING).
create table impersonations (
    jti uuid primary key,
    org_id subject_token not null,
    team_id subject_token not null,
    subject text not null,
    issued_at timestamptz not null,
    expires_at timestamptz not null
);
create index impersonations_by_end on impersonations (expires_at);

-- How an org's people sign in. The client secret is sealed; its key is named beside it.
create table sso_configs (
    org_id subject_token primary key,
    kind text not null default 'org' check (kind = 'org'),
    root_id subject_token not null,
    settings jsonb not null check (jsonb_typeof(settings) = 'object'),
    client_secret bytea,
    updated_at timestamptz not null,
    updated_by text not null,
    check (root_id = org_id),
    foreign key (org_id, root_id, kind) references nodes (org_id, node_id, kind) on delete cascade
);

-- When the tokens were last swept, over all processes: one row.
create table token_sweeps (
    only_one boolean primary key default true check (only_one),
    swept_at timestamptz not null
);
