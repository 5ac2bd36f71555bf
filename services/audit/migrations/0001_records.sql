-- The record. One row per message of the bus in `records`, which is never changed; its bytes in `bodies`, which may be
-- erased without touching the record. Both partitioned by the month (UTC) in which the broker stored the message.

create table audit.records (
    -- Broker's time, microseconds. With stream and sequence: the message's identity, and the key of its body.
    stored_at       timestamptz not null,
    stream          text        not null,
    stream_sequence bigint      not null,
    message_id      uuid        not null,
    subject         text        not null,
    -- CloudEvents type: tocsin.pagerduty.incident_triggered.v1, tocsin.decision.v1.
    type            text        not null,
    -- Whose signature held, and with which of its keys.
    signer          text        not null,
    key_id          text        not null,
    -- By the writer's clock.
    written_at      timestamptz,
    -- The ingress event from which the message follows.
    correlation_id  uuid        not null,
    causation_id    uuid,
    -- Null until the router has decided, and for what it could give to nobody.
    org             text,
    team            text,
    run_id          uuid,
    -- The provider's own id of the delivery; events only.
    delivery_id     text,
    payload_sha256  bytea       not null,
    payload_bytes   integer     not null,
    -- Facts that outlive the body: title, action, outcome, worker, phase, code.
    summary         jsonb       not null,
    primary key (stored_at, stream, stream_sequence)
) partition by range (stored_at);

create index records_correlation on audit.records (correlation_id);
create index records_run on audit.records (run_id) where run_id is not null;
create index records_delivery on audit.records (delivery_id) where delivery_id is not null;
create index records_decisions on audit.records (org, team, stored_at)
    where type = 'tocsin.decision.v1' and org is not null;

create table audit.bodies (
    stored_at       timestamptz not null,
    stream          text        not null,
    stream_sequence bigint      not null,
    -- [[name, value], …], sorted by name: with the payload, enough to verify the signature again.
    headers         jsonb       not null,
    payload         bytea       not null,
    primary key (stored_at, stream, stream_sequence)
) partition by range (stored_at);

-- Most bodies are JSON inside protobuf: lz4 halves them at a tenth of pglz's time. Not every server is built with it.
do $$
begin
    alter table audit.bodies alter column payload set compression lz4;
exception when feature_not_supported then
    null;
end
$$;

create function audit.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit.% is append-only: % is refused', tg_argv[0], tg_op
        using errcode = 'insufficient_privilege',
              hint = 'Erase a payload by deleting its row of audit.bodies; records stay.';
end
$$;

-- Row triggers are copied to every partition; statement triggers (TRUNCATE) are not, ensure_partition adds them.
create trigger records_are_append_only before update or delete on audit.records
    for each row execute function audit.refuse_change('records');
create trigger records_are_not_truncated before truncate on audit.records
    for each statement execute function audit.refuse_change('records');
create trigger bodies_do_not_change before update on audit.bodies
    for each row execute function audit.refuse_change('bodies');

-- Makes sure that both tables have a partition for the month of `day` (UTC). Cheap when they do.
create function audit.ensure_partition(day date) returns void language plpgsql as $$
declare
    first_day constant date := date_trunc('month', day::timestamp)::date;
    suffix    constant text := to_char(first_day, 'YYYY_MM');
    starts    constant timestamptz := first_day::timestamp at time zone 'UTC';
    ends      constant timestamptz := (first_day + interval '1 month') at time zone 'UTC';
begin
    -- Bodies come last: when they are there, all is.
    if to_regclass('audit.bodies_' || suffix) is not null then
        return;
    end if;
    -- Two may arrive here at once. A table's lock, because waiting for it also refreshes what to_regclass remembers.
    lock table audit.records in share update exclusive mode;
    if to_regclass('audit.bodies_' || suffix) is not null then
        return;
    end if;
    execute format('create table audit.%I partition of audit.records for values from (%L) to (%L)',
        'records_' || suffix, starts, ends);
    execute format('create trigger records_are_not_truncated before truncate on audit.%I '
        'for each statement execute function audit.refuse_change(''records'')', 'records_' || suffix);
    -- A body of 7 KB, compressed, still fits beside the others: no second table to write and to read.
    execute format('create table audit.%I partition of audit.bodies for values from (%L) to (%L) '
        'with (toast_tuple_target = 4080)', 'bodies_' || suffix, starts, ends);
end
$$;
