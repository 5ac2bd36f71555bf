//! What is read of GitLab's payloads: all kinds in one object, which share most of their fields.

use crate::json::{Flag, List, Text, object};

object! {
    Body {
        "object_kind" => object_kind: Text<'a>,
        "event_name" => event_name: Text<'a>,
        "event_type" => event_type: Text<'a>,
        "project" => project: Project<'a>,
        "project_id" => project_id: Text<'a>,
        "path_with_namespace" => path_with_namespace: Text<'a>,
        "repository" => repository: Repository<'a>,
        "group_path" => group_path: Text<'a>,
        "full_path" => full_path: Text<'a>,
        "user" => user: User<'a>,
        "user_id" => user_id: Text<'a>,
        "user_name" => user_name: Text<'a>,
        "user_username" => user_username: Text<'a>,
        "object_attributes" => attributes: Attributes<'a>,
        "merge_request" => merge_request: Titled<'a>,
        "issue" => issue: Titled<'a>,
        "snippet" => snippet: Titled<'a>,
        "commit" => commit: Commit<'a>,
        "commits" => commits: List<Commit<'a>>,
        "total_commits_count" => total_commits_count: Text<'a>,
        "ref" => git_ref: Text<'a>,
        "after" => after: Text<'a>,
        "sha" => sha: Text<'a>,
        "builds" => builds: List<Build<'a>>,
        "build_id" => build_id: Text<'a>,
        "build_name" => build_name: Text<'a>,
        "build_stage" => build_stage: Text<'a>,
        "build_status" => build_status: Text<'a>,
        "build_failure_reason" => build_failure_reason: Text<'a>,
        "build_created_at" => build_created_at: Text<'a>,
        "build_started_at" => build_started_at: Text<'a>,
        "build_finished_at" => build_finished_at: Text<'a>,
        "pipeline_id" => pipeline_id: Text<'a>,
        "environment" => environment: Text<'a>,
        "status" => status: Text<'a>,
        "status_changed_at" => status_changed_at: Text<'a>,
        "deployable_url" => deployable_url: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "action" => action: Text<'a>,
        "url" => url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "released_at" => released_at: Text<'a>,
    }
}

object! {
    Project {
        "id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "path_with_namespace" => path_with_namespace: Text<'a>,
        "web_url" => web_url: Text<'a>,
    }
}

object! {
    Repository { "homepage" => homepage: Text<'a> }
}

object! {
    User {
        "id" => id: Text<'a>,
        "username" => username: Text<'a>,
        "name" => name: Text<'a>,
    }
}

object! {
    /// Of an issue, a merge request, a note, a pipeline …
    Attributes {
        "id" => id: Text<'a>,
        "iid" => iid: Text<'a>,
        "type" => kind: Text<'a>,
        "title" => title: Text<'a>,
        "name" => name: Text<'a>,
        "note" => note: Text<'a>,
        "noteable_type" => noteable_type: Text<'a>,
        "description" => description: Text<'a>,
        "content" => content: Text<'a>,
        "state" => state: Text<'a>,
        "status" => status: Text<'a>,
        "severity" => severity: Text<'a>,
        "action" => action: Text<'a>,
        "confidential" => confidential: Flag,
        "ref" => git_ref: Text<'a>,
        "sha" => sha: Text<'a>,
        "source_branch" => source_branch: Text<'a>,
        "target_branch" => target_branch: Text<'a>,
        "url" => url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "finished_at" => finished_at: Text<'a>,
    }
}

object! {
    /// What a note or a pipeline belongs to.
    Titled { "iid" => iid: Text<'a>, "title" => title: Text<'a> }
}

object! {
    Commit { "title" => title: Text<'a>, "message" => message: Text<'a> }
}

object! {
    Build { "name" => name: Text<'a>, "status" => status: Text<'a> }
}
