package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Json;
import java.util.Collections;
import java.util.Map;
import org.apache.flink.streaming.api.lineage.LineageDataset;

/**
 * The table behind a dataset of a SQL job. Its class belongs to the planner, whose class loader
 * nobody else sees, so it is reached by reflection; for any other dataset this is empty.
 */
final class Table {
    private final Map<?, ?> options;
    private final Iterable<?> columns;

    private Table(Map<?, ?> options, Iterable<?> columns) {
        this.options = options;
        this.columns = columns;
    }

    /** Never throws. */
    static Table of(LineageDataset dataset) {
        Object table = Getter.call(dataset, "table");
        Object options = Getter.call(table, "getOptions");
        Object columns = Getter.call(Getter.call(table, "getUnresolvedSchema"), "getColumns");
        return new Table(
                options instanceof Map ? (Map<?, ?>) options : Collections.emptyMap(),
                columns instanceof Iterable ? (Iterable<?>) columns : Collections.emptyList());
    }

    /** Null when there is none. */
    String connector() {
        Object connector = options.get("connector");
        return connector == null ? null : connector.toString();
    }

    void writeOptions(Json json, Values values) {
        if (!options.isEmpty()) {
            values.write(json.key("options"), options);
        }
    }

    void writeSchema(Json json) {
        if (!columns.iterator().hasNext()) {
            return;
        }
        json.key("schema").beginArray();
        for (Object column : columns) {
            json.beginObject();
            json.field("name", text(Getter.call(column, "getName")));
            json.field("type", text(Getter.call(column, "getDataType")));
            json.endObject();
        }
        json.endArray();
    }

    private static String text(Object value) {
        return value == null ? null : Redaction.text(value.toString());
    }
}
