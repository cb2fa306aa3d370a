package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Json;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.apache.flink.streaming.api.lineage.LineageDataset;
import org.apache.flink.streaming.api.lineage.LineageEdge;
import org.apache.flink.streaming.api.lineage.LineageGraph;
import org.apache.flink.streaming.api.lineage.LineageVertex;
import org.apache.flink.streaming.api.lineage.SourceLineageVertex;

/**
 * Writes a job's lineage graph: what it reads, what it writes, and which goes where.
 *
 * <p>The graph is made of connectors' and users' objects: whatever throws or takes too much room is
 * left out, and {@code truncated} says so. The names of datasets go before their details.
 */
final class Lineage {
    private static final int MOST = 500;
    private static final int DETAIL_BYTES = 8 * 1024;
    /** What ends the graph: brackets and the mark of truncation. */
    private static final int MARGIN = 64;

    private final Values values = new Values();
    private boolean whole = true;

    private Lineage() {}

    static void write(Json json, LineageGraph graph) {
        new Lineage().graph(json, graph);
    }

    private void graph(Json json, LineageGraph graph) {
        int room = json.room() - MARGIN;
        json.beginObject();
        part(json, room * 2 / 5, j -> datasets(j, "sources", copy(graph::sources)));
        part(json, room * 2 / 5, j -> datasets(j, "sinks", copy(graph::sinks)));
        part(json, json.room() - MARGIN, j -> relations(j, copy(graph::relations)));
        if (!whole || values.cut()) {
            json.key("truncated").bool(true);
        }
        json.endObject();
    }

    private boolean part(Json json, int maxBytes, Json.Part part) {
        boolean kept = json.attempt(maxBytes, part);
        whole &= kept;
        return kept;
    }

    /** A list of somebody else's, which may fail or have no end. */
    private <T> List<T> copy(Supplier<? extends Iterable<? extends T>> list) {
        List<T> copy = new ArrayList<>();
        try {
            for (T element : list.get()) {
                if (copy.size() == MOST) {
                    whole = false;
                    break;
                }
                copy.add(element);
            }
        } catch (Throwable t) {
            whole = false;
        }
        return copy;
    }

    private void datasets(Json json, String key, List<? extends LineageVertex> vertices) {
        List<LineageDataset> datasets = new ArrayList<>();
        List<LineageVertex> owners = new ArrayList<>();
        for (LineageVertex vertex : vertices) {
            for (LineageDataset dataset : copy(vertex::datasets)) {
                if (datasets.size() == MOST) {
                    whole = false;
                    break;
                }
                datasets.add(dataset);
                owners.add(vertex);
            }
        }
        json.key(key).beginArray();
        for (int i = 0; i < datasets.size(); i++) {
            LineageDataset dataset = datasets.get(i);
            LineageVertex owner = owners.get(i);
            int share = (json.room() - MARGIN) / (datasets.size() - i);
            part(json, json.room() - MARGIN, j -> dataset(j, dataset, owner, share));
        }
        json.endArray();
    }

    /** One dataset, its details within a fair share of the room that is left. */
    private void dataset(Json json, LineageDataset dataset, LineageVertex owner, int share) {
        int end = json.room() - share + MARGIN;
        json.beginObject();
        name(json, dataset);
        Table table = Table.of(dataset);
        part(json, json.room(), j -> j.field("connector", table.connector()));
        if (owner instanceof SourceLineageVertex) {
            part(json, json.room(), j -> j.field("boundedness", ((SourceLineageVertex) owner).boundedness().name()));
        }
        detail(json, end, j -> table.writeOptions(j, values));
        detail(json, end, j -> Facets.write(j, dataset.facets(), values));
        detail(json, end, table::writeSchema);
        json.endObject();
    }

    /** @param end how much room the detail has to leave */
    private void detail(Json json, int end, Json.Part part) {
        part(json, Math.min(DETAIL_BYTES, json.room() - end), part);
    }

    private static void name(Json json, LineageDataset dataset) {
        String namespace = dataset.namespace();
        String name = dataset.name();
        json.key("namespace").string(namespace == null ? "" : Redaction.text(namespace), 2048);
        json.key("name").string(name == null ? "" : Redaction.text(name), 2048);
    }

    private void relations(Json json, List<LineageEdge> edges) {
        json.key("relations").beginArray();
        for (LineageEdge edge : edges) {
            List<LineageDataset> sinks = copy(() -> edge.sink().datasets());
            for (LineageDataset source : copy(() -> edge.source().datasets())) {
                for (LineageDataset sink : sinks) {
                    if (!part(json, json.room() - MARGIN, j -> relation(j, source, sink))) {
                        json.endArray();
                        return;
                    }
                }
            }
        }
        json.endArray();
    }

    private static void relation(Json json, LineageDataset source, LineageDataset sink) {
        json.beginObject();
        json.key("source").beginObject();
        name(json, source);
        json.endObject();
        json.key("sink").beginObject();
        name(json, sink);
        json.endObject();
        json.endObject();
    }
}
