// The Hive Metastore of an installation on one machine: Hive's own server, which never touches a
// table's files, and closes its database when it is told to stop.
package workroom

import java.io.IOException
import java.net.URI
import java.sql.{DriverManager, SQLException}
import java.util.{List => Values}
import java.util.concurrent.{Semaphore, TimeUnit}

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FSDataInputStream, FSDataOutputStream, FileStatus, FileSystem, Path}
import org.apache.hadoop.fs.permission.FsPermission
import org.apache.hadoop.hive.metastore.{FileFormatProxy, HiveAlterHandler, HiveMetaStore, MetaStoreFS}
import org.apache.hadoop.hive.metastore.{ObjectStore, PartitionExpressionProxy, RawStore, Warehouse}
import org.apache.hadoop.hive.metastore.HiveMetaStore.HMSHandler
import org.apache.hadoop.hive.metastore.api.{Database, EnvironmentContext, FileMetadataExprType}
import org.apache.hadoop.hive.metastore.api.{MetaException, Partition, Table}
import org.apache.hadoop.hive.ql.io.sarg.SearchArgument
import org.apache.hadoop.hive.serde2.typeinfo.PrimitiveTypeInfo
import org.apache.hadoop.util.Progressable

import scala.jdk.CollectionConverters._

/** Runs the server, and shuts Derby down when the process is asked to end. */
object Metastore {
  def main(words: Array[String]): Unit = {
    Runtime.getRuntime.addShutdownHook(new Thread(() => closeDatabase(), "close-database"))
    HiveMetaStore.main(words)
  }

  /** Derby says that it has shut down by an exception. Requests under way are rolled back. */
  private def closeDatabase(): Unit =
    try DriverManager.getConnection("jdbc:derby:;shutdown=true")
    catch { case done: SQLException => System.err.println(s"metastore: ${done.getMessage}") }
}

/** Stands in for every file system: the metastore knows where files are, and leaves them alone.
  *
  * Hive's server deletes a managed table's files when it is dropped, moves them when it is renamed,
  * and makes folders. Whoever may call it could so destroy data with its rights. This one says that
  * every folder is there, deletes nothing, and so needs no rights at all.
  */
class NoFiles extends FileSystem {
  private var uri = URI.create("file:///")

  override def initialize(name: URI, settings: Configuration): Unit = {
    super.initialize(name, settings)
    uri = name
  }

  override def getUri: URI = uri
  override def getFileStatus(path: Path): FileStatus = new FileStatus(0, true, 1, 0, 0, path)
  override def listStatus(path: Path): Array[FileStatus] = Array.empty
  override def mkdirs(path: Path, permission: FsPermission): Boolean = true
  override def getWorkingDirectory: Path = new Path(uri.toString, "/")
  override def setWorkingDirectory(path: Path): Unit = ()

  override def delete(path: Path, recursive: Boolean): Boolean = refused(path)
  override def rename(from: Path, to: Path): Boolean = refused(from)
  override def open(path: Path, buffer: Int): FSDataInputStream = refused(path)
  override def append(path: Path, buffer: Int, progress: Progressable): FSDataOutputStream =
    refused(path)
  override def create(
      path: Path,
      permission: FsPermission,
      overwrite: Boolean,
      buffer: Int,
      replicas: Short,
      block: Long,
      progress: Progressable
  ): FSDataOutputStream = refused(path)

  private def refused(path: Path) =
    throw new IOException(s"This metastore does not touch files, and did not touch $path")
}

/** Lets one transaction into the database at a time.
  *
  * Derby makes readers wait for writers, row by row and table by table. Those who read and change
  * one partition at once wait for each other in a circle, from which Derby frees one of them after
  * a second at the soonest: fifty at once took more than a minute. In turn they take milliseconds.
  */
class InTurn extends ObjectStore {
  private var mine = false

  override def openTransaction(): Boolean = {
    // Whoever forgets to end a transaction slows the others down, and does not stop them.
    if (!mine) mine = InTurn.turn.tryAcquire(5, TimeUnit.SECONDS)
    super.openTransaction()
  }

  override def commitTransaction(): Boolean =
    try super.commitTransaction()
    finally pass()

  override def rollbackTransaction(): Unit =
    try super.rollbackTransaction()
    finally pass()

  override def shutdown(): Unit =
    try super.shutdown()
    finally pass()

  private def pass(): Unit =
    if (mine && !isActiveTransaction) {
      mine = false
      InTurn.turn.release()
    }
}

object InTurn {
  private val turn = new Semaphore(1, true)
}

/** Keeps the files of tables and databases that are dropped. */
class KeptFiles extends MetaStoreFS {
  override def deleteDir(
      files: FileSystem,
      path: Path,
      recursive: Boolean,
      purge: Boolean,
      settings: Configuration
  ): Boolean = {
    System.err.println(s"metastore: the files at $path are kept")
    true
  }
}

/** Alters tables and partitions with the sizes that the writer states.
  *
  * Hive's server counts files anew whenever a size changes, and finds none here.
  */
class StatedSizes extends HiveAlterHandler {
  override def alterTable(
      store: RawStore,
      files: Warehouse,
      database: String,
      name: String,
      table: Table,
      context: EnvironmentContext,
      handler: HMSHandler
  ): Unit = {
    val stated = new Stated(getConf, Map.empty, sizes(table.getParameters))
    super.alterTable(store, stated, database, name, table, context, handler)
  }

  override def alterPartition(
      store: RawStore,
      files: Warehouse,
      database: String,
      name: String,
      values: Values[String],
      partition: Partition,
      context: EnvironmentContext,
      handler: HMSHandler
  ): Partition = {
    val stated = warehouse(Seq(partition))
    super.alterPartition(store, stated, database, name, values, partition, context, handler)
  }

  override def alterPartitions(
      store: RawStore,
      files: Warehouse,
      database: String,
      name: String,
      partitions: Values[Partition],
      context: EnvironmentContext,
      handler: HMSHandler
  ): Values[Partition] = {
    val stated = warehouse(partitions.asScala.toSeq)
    super.alterPartitions(store, stated, database, name, partitions, context, handler)
  }

  private def warehouse(partitions: Seq[Partition]) = {
    val found = partitions.filter(_.getSd != null).map { partition =>
      partition.getSd.getLocation -> sizes(partition.getParameters)
    }
    new Stated(getConf, found.toMap, Array.empty)
  }

  /** As many files as are stated; one of them has all the bytes. */
  private def sizes(parameters: java.util.Map[String, String]): Array[FileStatus] = {
    def number(name: String) =
      Option(parameters).flatMap(p => Option(p.get(name))).flatMap(_.toLongOption).getOrElse(0L)
    val bytes = number("totalSize")
    val count = number("numFiles").max(if (bytes > 0) 1 else 0).min(100000).toInt
    Array.tabulate(count) { i =>
      new FileStatus(if (i == 0) bytes else 0, false, 1, 0, 0, new Path("/stated"))
    }
  }
}

/** A warehouse whose files are those that were stated: of each location, and of the one table. */
class Stated(
    settings: Configuration,
    locations: Map[String, Array[FileStatus]],
    table: Array[FileStatus]
) extends Warehouse(settings) {
  override def getFileStatusesForLocation(location: String): Array[FileStatus] =
    locations.getOrElse(location, Array.empty)
  override def getFileStatusesForUnpartitionedTable(
      database: Database,
      altered: Table
  ): Array[FileStatus] = table
}

/** Refuses filters that come as serialised Java objects: reading one can run its sender's code.
  * Filters that come as text, which is what Spark and Python send, do not pass here.
  */
class NoSerialisedFilters extends PartitionExpressionProxy {
  override def convertExprToFilter(sent: Array[Byte]): String = refused()
  override def filterPartitionsByExpr(
      keys: Values[String],
      types: Values[PrimitiveTypeInfo],
      sent: Array[Byte],
      defaultName: String,
      partitions: Values[String]
  ): Boolean = refused()
  override def getMetadataType(format: String): FileMetadataExprType = null
  override def getFileFormatProxy(kind: FileMetadataExprType): FileFormatProxy = null
  override def createSarg(sent: Array[Byte]): SearchArgument = refused()

  private def refused() =
    throw new MetaException("This metastore takes filters as text only (get_partitions_by_filter)")
}
