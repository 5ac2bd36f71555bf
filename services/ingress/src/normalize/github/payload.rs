//! The parts of GitHub's payloads that we read, for all event types in one.

use crate::json::{Flag, List, Present, Text, object};

object! {
    Payload {
        "action" => action: Text<'a>,
        "ref" => git_ref: Text<'a>,
        "ref_type" => ref_type: Text<'a>,
        "before" => before: Text<'a>,
        "after" => after: Text<'a>,
        "compare" => compare: Text<'a>,
        "created" => created: Flag,
        "deleted" => deleted: Flag,
        "forced" => forced: Flag,
        "number" => number: Text<'a>,
        "sha" => sha: Text<'a>,
        "state" => state: Text<'a>,
        "context" => context: Text<'a>,
        "description" => description: Text<'a>,
        "target_url" => target_url: Text<'a>,
        "environment" => environment: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "starred_at" => starred_at: Text<'a>,
        "since" => since: Text<'a>,
        "branch" => branch: Text<'a>,
        "repository" => repository: Repository<'a>,
        "organization" => organization: Account<'a>,
        "installation" => installation: Installation<'a>,
        "repositories" => repositories: List<Repository<'a>>,
        "repositories_added" => repositories_added: List<Repository<'a>>,
        "repositories_removed" => repositories_removed: List<Repository<'a>>,
        "changes" => changes: Changes<'a>,
        "sender" => sender: Account<'a>,
        "pusher" => pusher: Pusher<'a>,
        "branches" => branches: List<Named<'a>>,
        "commits" => commits: List<Present>,
        "head_commit" => head_commit: HeadCommit<'a>,
        "commit" => commit: Linked<'a>,
        "pull_request" => pull_request: PullRequest<'a>,
        "issue" => issue: Issue<'a>,
        "comment" => comment: Comment<'a>,
        "review" => review: Review<'a>,
        "workflow_run" => workflow_run: Check<'a>,
        "workflow_job" => workflow_job: Check<'a>,
        "check_run" => check_run: Check<'a>,
        "check_suite" => check_suite: Check<'a>,
        "workflow" => workflow: Workflow<'a>,
        "deployment" => deployment: Deployment<'a>,
        "deployment_status" => deployment_status: Deployment<'a>,
        "release" => release: Release<'a>,
        "discussion" => discussion: Issue<'a>,
        "alert" => alert: Alert<'a>,
        "security_advisory" => security_advisory: Advisory<'a>,
        "repository_advisory" => repository_advisory: Advisory<'a>,
        "merge_group" => merge_group: MergeGroup<'a>,
        "label" => label: Named<'a>,
        "milestone" => milestone: Named<'a>,
        "team" => team: Named<'a>,
    }
}

object! {
    Repository {
        "id" => id: Text<'a>,
        "full_name" => full_name: Text<'a>,
        "default_branch" => default_branch: Text<'a>,
    }
}

object! {
    Account { "login" => login: Text<'a>, "id" => id: Text<'a>, "type" => kind: Text<'a> }
}

object! {
    Installation {
        "id" => id: Text<'a>,
        "account" => account: Account<'a>,
        "html_url" => html_url: Text<'a>,
    }
}

object! {
    Changes { "repository" => repository: RepositoryChanges<'a>, "owner" => owner: OwnerChanges<'a> }
}

object! {
    RepositoryChanges { "name" => name: Before<'a> }
}

object! {
    OwnerChanges { "from" => from: FormerOwner<'a> }
}

object! {
    FormerOwner { "user" => user: Account<'a>, "organization" => organization: Account<'a> }
}

object! {
    Before { "from" => from: Text<'a> }
}

object! {
    Pusher { "name" => name: Text<'a> }
}

object! {
    HeadCommit {
        "id" => id: Text<'a>,
        "message" => message: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
    }
}

object! {
    Linked { "html_url" => html_url: Text<'a> }
}

object! {
    Named {
        "name" => name: Text<'a>,
        "title" => title: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
    }
}

object! {
    PullRequest {
        "number" => number: Text<'a>,
        "title" => title: Text<'a>,
        "body" => body: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "state" => state: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "merged" => merged: Flag,
        "draft" => draft: Flag,
        "head" => head: Revision<'a>,
        "base" => base: Revision<'a>,
    }
}

object! {
    Revision { "ref" => git_ref: Text<'a>, "sha" => sha: Text<'a> }
}

object! {
    /// An issue or a discussion.
    Issue {
        "number" => number: Text<'a>,
        "title" => title: Text<'a>,
        "body" => body: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "state" => state: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "pull_request" => pull_request: Present,
    }
}

object! {
    Comment {
        "id" => id: Text<'a>,
        "body" => body: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "commit_id" => commit_id: Text<'a>,
    }
}

object! {
    Review {
        "body" => body: Text<'a>,
        "state" => state: Text<'a>,
        "submitted_at" => submitted_at: Text<'a>,
        "html_url" => html_url: Text<'a>,
    }
}

object! {
    /// A workflow run, a job of one, a check run or a check suite: they have one shape.
    Check {
        "id" => id: Text<'a>,
        "run_id" => run_id: Text<'a>,
        "run_attempt" => run_attempt: Text<'a>,
        "name" => name: Text<'a>,
        "workflow_name" => workflow_name: Text<'a>,
        "path" => path: Text<'a>,
        "event" => event: Text<'a>,
        "status" => status: Text<'a>,
        "conclusion" => conclusion: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "head_branch" => head_branch: Text<'a>,
        "head_sha" => head_sha: Text<'a>,
        "started_at" => started_at: Text<'a>,
        "completed_at" => completed_at: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "pull_requests" => pull_requests: List<PullRequestNumber<'a>>,
        "output" => output: CheckOutput<'a>,
        "app" => app: App<'a>,
        "check_suite_id" => suite_id: Text<'a>,
        "check_suite" => check_suite: CheckSuite<'a>,
    }
}

object! {
    PullRequestNumber { "number" => number: Text<'a> }
}

object! {
    CheckOutput { "title" => title: Text<'a>, "summary" => summary: Text<'a> }
}

object! {
    App { "slug" => slug: Text<'a>, "name" => name: Text<'a> }
}

object! {
    CheckSuite { "id" => id: Text<'a>, "head_branch" => head_branch: Text<'a> }
}

object! {
    Workflow { "name" => name: Text<'a>, "path" => path: Text<'a> }
}

object! {
    /// A deployment or its status.
    Deployment {
        "environment" => environment: Text<'a>,
        "sha" => sha: Text<'a>,
        "ref" => git_ref: Text<'a>,
        "description" => description: Text<'a>,
        "state" => state: Text<'a>,
        "target_url" => target_url: Text<'a>,
        "log_url" => log_url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
    }
}

object! {
    Release {
        "name" => name: Text<'a>,
        "tag_name" => tag_name: Text<'a>,
        "body" => body: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "published_at" => published_at: Text<'a>,
        "draft" => draft: Flag,
        "prerelease" => prerelease: Flag,
    }
}

object! {
    Alert {
        "number" => number: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "state" => state: Text<'a>,
        "severity" => severity: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "security_advisory" => security_advisory: Advisory<'a>,
        "rule" => rule: Rule<'a>,
        "secret_type_display_name" => secret_type_display_name: Text<'a>,
        "secret_type" => secret_type: Text<'a>,
        "resolution" => resolution: Text<'a>,
    }
}

object! {
    Advisory {
        "ghsa_id" => ghsa_id: Text<'a>,
        "summary" => summary: Text<'a>,
        "description" => description: Text<'a>,
        "severity" => severity: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "state" => state: Text<'a>,
        "published_at" => published_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
    }
}

object! {
    Rule {
        "id" => id: Text<'a>,
        "description" => description: Text<'a>,
        "full_description" => full_description: Text<'a>,
        "severity" => severity: Text<'a>,
        "security_severity_level" => security_severity_level: Text<'a>,
    }
}

object! {
    MergeGroup {
        "head_sha" => head_sha: Text<'a>,
        "head_ref" => head_ref: Text<'a>,
        "base_ref" => base_ref: Text<'a>,
    }
}
