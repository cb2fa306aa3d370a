package com.github.flinktail.jobs;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.TableEnvironment;

/** One table read, two written, so that the job has lineage. Arguments: name, folder to write to. */
public final class SqlJob {
    private SqlJob() {}

    public static void main(String[] args) {
        Configuration conf = new Configuration();
        conf.setString("pipeline.name", args[0]);
        TableEnvironment env = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(conf).build());
        env.executeSql("CREATE TABLE orders (id BIGINT, amount DOUBLE) WITH ("
                + "'connector' = 'datagen', 'number-of-rows' = '20',"
                + "'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '20')");
        env.executeSql("CREATE TABLE large_orders (id BIGINT, amount DOUBLE) WITH ("
                + "'connector' = 'filesystem', 'path' = 'file://" + args[1] + "', 'format' = 'csv')");
        env.executeSql("CREATE TABLE all_orders (id BIGINT, amount DOUBLE) WITH ('connector' = 'print')");
        StatementSet statements = env.createStatementSet();
        statements.addInsertSql("INSERT INTO large_orders SELECT id, amount FROM orders WHERE amount > 0.5");
        statements.addInsertSql("INSERT INTO all_orders SELECT id, amount FROM orders");
        statements.execute();
    }
}
