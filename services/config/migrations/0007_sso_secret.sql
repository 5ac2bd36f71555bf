-- The client secret under envelope encryption, as other secrets are: the value under a data key, that under a master key.
-- What was stored before cannot be opened any more and must be set again.
update sso_configs set client_secret = null;
alter table sso_configs add column wrapped_key bytea;
alter table sso_configs add column master_key_id text;
alter table sso_configs add constraint a_client_secret_is_whole check (
    (client_secret is null) = (wrapped_key is null) and (client_secret is null) = (master_key_id is null));
create index sso_configs_by_master_key on sso_configs (master_key_id) where master_key_id is not null;
