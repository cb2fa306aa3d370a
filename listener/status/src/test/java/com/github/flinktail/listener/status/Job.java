package com.github.flinktail.listener.status;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.core.execution.DefaultJobExecutionStatusEvent;
import org.apache.flink.core.execution.JobStatusChangedListener;
import org.apache.flink.streaming.api.lineage.LineageDataset;
import org.apache.flink.streaming.api.lineage.LineageDatasetFacet;
import org.apache.flink.streaming.api.lineage.LineageEdge;
import org.apache.flink.streaming.api.lineage.LineageGraph;
import org.apache.flink.streaming.api.lineage.LineageVertex;
import org.apache.flink.streaming.api.lineage.SourceLineageVertex;
import org.apache.flink.streaming.runtime.execution.DefaultJobCreatedEvent;

/** A job with everything in it that comes from user code: lineage, a connector's facets, an exception. */
public class Job implements LineageGraph {
    final List<SourceLineageVertex> sources = new ArrayList<>();
    final List<LineageVertex> sinks = new ArrayList<>();
    final List<LineageEdge> relations = new ArrayList<>();

    @Override
    public List<SourceLineageVertex> sources() {
        return sources;
    }

    @Override
    public List<LineageVertex> sinks() {
        return sinks;
    }

    @Override
    public List<LineageEdge> relations() {
        return relations;
    }

    Job from(Dataset... datasets) {
        sources.add(new Source(List.of(datasets), Boundedness.CONTINUOUS_UNBOUNDED));
        return this;
    }

    Job to(Dataset... datasets) {
        sinks.add(new Sink(List.of(datasets)));
        return this;
    }

    Job related() {
        sources.forEach(source -> sinks.forEach(sink -> relations.add(new Edge(source, sink))));
        return this;
    }

    DefaultJobCreatedEvent created() {
        return new DefaultJobCreatedEvent(new JobID(1, 2), "orders", this, RuntimeExecutionMode.STREAMING);
    }

    static DefaultJobExecutionStatusEvent status(JobStatus from, JobStatus to, Throwable cause) {
        return new DefaultJobExecutionStatusEvent(new JobID(1, 2), "orders", from, to, cause);
    }

    /** Runs a whole life of the job, on behalf of the class loader that this class comes from. */
    public static class Life implements Consumer<JobStatusChangedListener> {
        @Override
        public void accept(JobStatusChangedListener listener) {
            Job job = new Job().from(new Dataset("kafka://h:1", "in", new Bean())).to(new Dataset("", "out", null)).related();
            listener.onEvent(status(JobStatus.CREATED, JobStatus.RUNNING, null));
            listener.onEvent(job.created());
            listener.onEvent(status(JobStatus.RUNNING, JobStatus.RESTARTING, null));
            listener.onEvent(status(JobStatus.FAILING, JobStatus.FAILED, new Broken()));
        }
    }

    static class Broken extends RuntimeException {
        Broken() {
            super("broken", new IllegalStateException("root"));
        }
    }

    record Source(List<LineageDataset> datasets, Boundedness boundedness) implements SourceLineageVertex {}

    record Sink(List<LineageDataset> datasets) implements LineageVertex {}

    record Edge(SourceLineageVertex source, LineageVertex sink) implements LineageEdge {}

    /** A dataset, of a table if it has options. */
    static class Dataset implements LineageDataset {
        final String namespace;
        final String name;
        final Map<String, LineageDatasetFacet> facets = new HashMap<>();
        Table table;

        Dataset(String namespace, String name, LineageDatasetFacet facet) {
            this.namespace = namespace;
            this.name = name;
            if (facet != null) {
                facets.put(facet.name(), facet);
            }
        }

        Dataset table(Map<String, String> options, String... columns) {
            List<Column> list = new ArrayList<>();
            for (String column : columns) {
                list.add(new Column(column, "STRING"));
            }
            table = new Table(options, new Schema(list));
            return this;
        }

        @Override
        public String name() {
            return name;
        }

        @Override
        public String namespace() {
            return namespace;
        }

        @Override
        public Map<String, LineageDatasetFacet> facets() {
            return facets;
        }

        public Table table() {
            return table;
        }
    }

    /** As the planner's, in a class that nobody else can see. */
    record Table(Map<String, String> getOptions, Schema getUnresolvedSchema) {}

    record Schema(List<Column> getColumns) {}

    record Column(String getName, String getDataType) {}

    /** As a connector's facet, with an object of its own package in it. */
    static class Bean implements LineageDatasetFacet {
        @Override
        public String name() {
            return "bean";
        }

        public Map<String, Object> getProperties() {
            return Map.of("group.id", "lab", "sasl.jaas.config", "hunter2", "retries", 3, "acks", true);
        }

        public Inner getInner() {
            return new Inner();
        }

        public Optional<String> getPattern() {
            return Optional.empty();
        }

        public boolean isBounded() {
            return false;
        }

        public String getFailing() {
            throw new UnsupportedOperationException();
        }

        public Class<?> getType() {
            return String.class;
        }

        static class Inner {
            public List<String> getTopics() {
                return List.of("in", "in-2");
            }
        }
    }

    /** Leads back to itself, never ends, and recurses without end. */
    static class Looping implements LineageDatasetFacet {
        @Override
        public String name() {
            return "looping";
        }

        public Looping getSelf() {
            return this;
        }

        public Map<String, Object> getMap() {
            Map<String, Object> map = new HashMap<>();
            map.put("again", map);
            return map;
        }

        public Iterable<Object> getEndless() {
            return () -> new Iterator<>() {
                @Override
                public boolean hasNext() {
                    return true;
                }

                @Override
                public Object next() {
                    return List.of();
                }
            };
        }

        public String getDeep() {
            return getDeep();
        }

        public String getFine() {
            return "fine";
        }
    }
}
