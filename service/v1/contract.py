from service.errors import TOKEN_CODES, Code, Problem
from service.http.contract import Contract, Operation
from service.v1 import accounts, models, tasks

_ABSENT_AT_LOGIN = {"Email is required", "Password is required"}


def error_text(operation: str | None, problem: Problem) -> str:
    """January's clients show `error` as it stands: it speaks of the first field, and has one word for any bad token."""
    if problem.code in TOKEN_CODES:
        return "Unauthorized"
    messages = [detail.message for detail in problem.details]
    if operation == accounts.log_in.__name__ and not _ABSENT_AT_LOGIN.isdisjoint(messages):
        return "Email and password required"
    return messages[0] if messages else problem.text


# A table, one operation a row; the formatter would make a column of it.
# fmt: off
CONTRACT = Contract("v1", "January", "The first contract, frozen: base URL with /v1.", "/v1/api", error_text, (
    Operation("POST", "/auth/signup", accounts.sign_up, "Sign up", 201, models.Session, models.SignUp,
              [Code.EMAIL_EXISTS, Code.RATE_LIMITED], needs_token=False),
    Operation("POST", "/auth/login", accounts.log_in, "Log in", 200, models.Session, models.LogIn,
              [Code.INVALID_CREDENTIALS, Code.RATE_LIMITED], needs_token=False),
    Operation("GET", "/tasks", tasks.list_tasks, "List tasks, newest first", 200, models.TaskList),
    Operation("POST", "/tasks", tasks.create_task, "Create a task", 201, models.OneTask, models.NewTask,
              [Code.QUOTA_EXCEEDED]),
    Operation("GET", "/tasks/<task_id>", tasks.get_task, "Read a task", 200, models.OneTask),
    Operation("PUT", "/tasks/<task_id>", tasks.update_task, "Change a task", 200, models.OneTask, models.TaskChanges),
    Operation("DELETE", "/tasks/<task_id>", tasks.delete_task, "Delete a task", 204),
))
