"""The job store in SQL, for `sqlite_store` and `postgres_store`."""

from kinema.server.sql_client import SqlClientOperations
from kinema.server.sql_server import SqlOperatorOperations, SqlServerOperations
from kinema.server.sql_worker import SqlWorkerOperations


class SqlJobStore(SqlClientOperations, SqlWorkerOperations, SqlServerOperations, SqlOperatorOperations):
    """What `JobStore` does on any SQL database."""

    def close(self) -> None:
        """See `ServerOperations.close`."""
        self.sql.close()
