from typing import Any

from service.api import accounts, batch, batch_models, changes, models, tasks
from service.api.list_query import ListQuery
from service.domain.tasks import TaskChanged
from service.errors import Code, Problem
from service.http.contract import Contract, Operation


def error_text(_: str | None, problem: Problem) -> str:
    """February's clients read the error's own text, and look at `details` for the fields."""
    return problem.text


def more_fields(problem: Problem) -> dict[str, Any]:
    return {"current": tasks.task_body(problem.current)} if isinstance(problem, TaskChanged) else {}


# A table, one operation a row; the formatter would make a column of it.
# fmt: off
CONTRACT = Contract("api", "February", "The current contract. New clients are written to it.", "/api", error_text, (
    Operation("POST", "/auth/signup", accounts.sign_up, "Sign up", 201, models.Session, models.SignUp,
              [Code.EMAIL_EXISTS, Code.RATE_LIMITED], needs_token=False),
    Operation("POST", "/auth/login", accounts.log_in, "Log in", 200, models.Session, models.LogIn,
              [Code.INVALID_CREDENTIALS, Code.RATE_LIMITED], needs_token=False),
    Operation("GET", "/auth/me", accounts.get_me, "Read the user of the token", 200, models.Me),
    Operation("GET", "/auth/me/export", accounts.export_me, "Export the user and every task", 200, models.Export),
    Operation("DELETE", "/auth/me", accounts.delete_me, "Delete the account and all its tasks", 204,
              body=models.DeleteAccountBody, refusals=[Code.RATE_LIMITED], needs_body=False),
    Operation("POST", "/auth/password", accounts.change_password, "Change the password", 200, models.Session,
              models.PasswordChange, [Code.RATE_LIMITED]),
    Operation("POST", "/auth/logout", accounts.log_out, "Log out", 204, needs_token=False),
    Operation("POST", "/auth/logout-all", accounts.log_out_everywhere, "Log out everywhere", 204),
    Operation("GET", "/tasks", tasks.list_tasks, "List tasks, newest first", 200, models.TaskList, query=ListQuery,
              headers=["ETag", "Link"], request_headers=["IfNoneMatch"], may_be_known=True),
    Operation("POST", "/tasks", tasks.create_task, "Create a task", 201, models.Task, models.NewTask,
              [Code.QUOTA_EXCEEDED, Code.IDEMPOTENCY_KEY_REUSED, Code.RATE_LIMITED],
              headers=["ETag", "Location", "Idempotency-Replayed"], request_headers=["IdempotencyKey"]),
    Operation("POST", "/tasks/batch", batch.change_tasks, "Create, change and delete several tasks, all or none", 200,
              batch_models.BatchAnswer, batch_models.Batch,
              [Code.NOT_FOUND, Code.QUOTA_EXCEEDED, Code.IDEMPOTENCY_KEY_REUSED, Code.GONE, Code.PRECONDITION_FAILED,
               Code.RATE_LIMITED], headers=["Idempotency-Replayed"], request_headers=["IdempotencyKey"]),
    Operation("GET", "/tasks/<task_id>", tasks.get_task, "Read a task", 200, models.Task, headers=["ETag"],
              request_headers=["IfNoneMatch"], may_be_known=True),
    Operation("PUT", "/tasks/<task_id>", tasks.update_task, "Change a task", 200, models.Task, models.TaskChanges,
              [Code.QUOTA_EXCEEDED, Code.GONE, Code.PRECONDITION_FAILED], headers=["ETag"],
              request_headers=["IfMatch", "OnlyNew"], body_of_new=models.NewTask),
    Operation("DELETE", "/tasks/<task_id>", tasks.delete_task, "Delete a task", 200, models.Deleted,
              refusals=[Code.PRECONDITION_FAILED], request_headers=["IfMatch"]),
    Operation("GET", "/changes", changes.list_changes, "List what has changed", 200, models.ChangeList,
              refusals=[Code.CURSOR_EXPIRED], query=changes.ChangesQuery, headers=["ETag"],
              request_headers=["IfNoneMatch"], may_be_known=True),
), has_strict_handling=True, more_fields=more_fields)
