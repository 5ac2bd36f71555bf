-- Rings cannot be stored: a node is exactly one level below its parent, so going up always ends. When a
-- node moves, the key carries the new depth to everything below it, and the check ends a ring's chase.
alter table nodes add column parent_depth integer check (parent_depth >= 0);
with recursive walk (org_id, node_id, depth) as (
    select org_id::text, node_id::text, 0 from nodes where kind = 'org'
    union all
    select child.org_id::text, child.node_id::text, walk.depth + 1
    from walk join nodes child on child.org_id = walk.org_id and child.parent_id = walk.node_id
)
update nodes set parent_depth = walk.depth - 1 from walk
where nodes.org_id = walk.org_id and nodes.node_id = walk.node_id and walk.depth > 0;
alter table nodes add column depth integer not null
    generated always as (coalesce(parent_depth, -1) + 1) stored check (depth <= 64);
alter table nodes add unique (org_id, node_id, kind, depth);
alter table nodes add check ((parent_id is null) = (parent_depth is null));
alter table nodes drop constraint nodes_org_id_parent_id_parent_kind_fkey;
-- Deferrable, so that one transaction may move several nodes in any order; it holds at every commit.
alter table nodes add constraint nodes_parent foreign key (org_id, parent_id, parent_kind, parent_depth)
    references nodes (org_id, node_id, kind, depth) on update cascade deferrable initially immediate;

-- Each writing transaction of an org takes this row first, so they run one after the other, and
-- gets the next number: what one transaction changed has one revision.
create table org_revisions (
    org_id subject_token primary key,
    revision bigint not null check (revision > 0)
);
insert into org_revisions (org_id, revision) select distinct org_id, 1 from node_history;

-- The node as it was, so that the tree of any time can be read.
alter table node_history add column revision bigint not null default 1;
alter table node_history alter column revision drop default;
alter table node_history add column kind text check (kind in ('org', 'unit', 'team'));
alter table node_history add column parent_id subject_token;
alter table node_history add column name text not null default '';
alter table node_history alter column name drop default;
update node_history set kind = nodes.kind, parent_id = nodes.parent_id, name = nodes.name from nodes
where nodes.org_id = node_history.org_id and nodes.node_id = node_history.node_id;
update node_history set kind = 'team', parent_id = org_id where kind is null;
alter table node_history alter column kind set not null;
alter table node_history drop constraint node_history_what_check;
alter table node_history add check (what in ('created', 'updated', 'moved', 'renamed', 'deleted'));
create index node_history_of_revision on node_history (org_id, revision);
create index node_history_of_org on node_history (org_id, changed_at desc, node_id, version);
