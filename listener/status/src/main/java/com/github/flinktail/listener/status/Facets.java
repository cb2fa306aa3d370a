package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Json;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.flink.streaming.api.lineage.DatasetConfigFacet;
import org.apache.flink.streaming.api.lineage.DatasetSchemaFacet;
import org.apache.flink.streaming.api.lineage.DatasetSchemaField;
import org.apache.flink.streaming.api.lineage.LineageDatasetFacet;

/** Writes what a connector tells about a dataset. */
final class Facets {

    private Facets() {}

    static void write(Json json, Map<String, LineageDatasetFacet> facets, Values values) {
        if (facets == null || facets.isEmpty()) {
            return;
        }
        json.key("facets").beginObject();
        for (Map.Entry<String, LineageDatasetFacet> facet : facets.entrySet()) {
            values.attempt(json, j -> write(j.key(facet.getKey()), facet.getValue(), values));
        }
        json.endObject();
    }

    private static void write(Json json, LineageDatasetFacet facet, Values values) {
        if (facet instanceof DatasetConfigFacet) {
            values.write(json, ((DatasetConfigFacet) facet).config());
        } else if (facet instanceof DatasetSchemaFacet) {
            // Not by key as elsewhere: a column named password holds no password here.
            values.writeList(json, fields((DatasetSchemaFacet) facet).values());
        } else {
            values.writeBean(json, facet);
        }
    }

    private static Map<String, Map<String, Object>> fields(DatasetSchemaFacet facet) {
        Map<String, Map<String, Object>> fields = new LinkedHashMap<>();
        Map<String, DatasetSchemaField<Object>> declared = facet.fields();
        declared.forEach((name, field) -> {
            Map<String, Object> column = new LinkedHashMap<>();
            column.put("name", field.name());
            column.put("type", String.valueOf(field.type()));
            fields.put(name, column);
        });
        return fields;
    }
}
