package com.github.flinktail.listener.core;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A bounded buffer of events and the one daemon thread that posts them, shared by everything in this
 * class loader that has the same options.
 *
 * <p>The thread and a shutdown hook exist only while there is work, and for a short time after, so
 * that an idle sender keeps no class loader loaded. Methods may be called by any thread and never
 * wait for the network.
 */
final class Sender {
    /** Uncompressed, and above the largest event. */
    private static final int BATCH_BYTES = 512 * 1024;

    private static final long IDLE_MILLIS = 10_000;
    private static final long CLOSING_PAUSE_MILLIS = 250;
    /** A receiver that restarts is no news; one that stays away is. */
    private static final int QUIET_FAILURES = 2;

    private static final Map<Options, Sender> SHARED = new ConcurrentHashMap<>();

    private final Options options;
    private final long idleMillis;
    private final String id = UUID.randomUUID().toString();
    private final AtomicLong sequence = new AtomicLong();
    /** Events dropped and not yet reported. Without a lock, so that it can be raised when memory has run out. */
    private final AtomicLong dropped = new AtomicLong();

    private final Object lock = new Object();
    // Guarded by lock. Events stay here until they are settled, so the bounds cover what is in flight.
    private final ArrayDeque<byte[]> queue = new ArrayDeque<>();
    private long queuedBytes;
    private Thread thread;
    private Thread hook;
    private boolean closing;

    // Of the sender thread alone.
    private final Endpoint endpoint;
    private final Backoff backoff = new Backoff(200, 5_000);
    private final Backoff slow = new Backoff(5_000, 60_000);
    /** How many drops the batch in flight reports; nobody knows of them before it is delivered. */
    private long reporting;
    private int failures;
    private boolean troubled;

    /** @param idleMillis how long the thread stays without work */
    Sender(Options options, long idleMillis) {
        this.options = options;
        this.idleMillis = idleMillis;
        this.endpoint = new Endpoint(options);
    }

    static Sender shared(Options options) {
        return SHARED.computeIfAbsent(options, o -> new Sender(o, IDLE_MILLIS));
    }

    /** Whether its thread or its shutdown hook exists. */
    boolean isRunning() {
        synchronized (lock) {
            return thread != null || hook != null;
        }
    }

    /** An id for the next event, unique among all JVMs. */
    String nextId() {
        return id + "-" + sequence.getAndIncrement();
    }

    /** Takes the event, or counts it as dropped when the buffer is full. */
    void offer(byte[] event) {
        synchronized (lock) {
            if (queue.size() >= options.bufferEvents || queuedBytes + event.length > options.bufferBytes) {
                dropped.incrementAndGet();
            } else {
                queue.add(event);
                queuedBytes += event.length;
                lock.notifyAll();
            }
            if (thread == null) {
                start();
            }
        }
    }

    /** Counts an event that could not be made. */
    void drop() {
        dropped.incrementAndGet();
    }

    /** Called with the lock. A thread that cannot be started now is tried for again with the next event. */
    private void start() {
        try {
            Thread starting = Threads.daemon("flinktail-sender", this::run);
            starting.start();
            thread = starting;
            hook = Threads.daemon("flinktail-flush", this::flush);
            Runtime.getRuntime().addShutdownHook(hook);
        } catch (IllegalStateException e) {
            // The JVM is already going down: what can be sent until then is.
            closing = true;
        } catch (Throwable t) {
            Log.warnOnce("flinktail: no thread for sending: " + Log.line(t));
        }
    }

    /** Called with the lock. */
    private void stop() {
        thread = null;
        if (hook != null) {
            try {
                Runtime.getRuntime().removeShutdownHook(hook);
            } catch (IllegalStateException e) {
                // going down: the hook runs, and finds nothing to do
            }
            hook = null;
        }
    }

    private void run() {
        while (true) {
            try {
                List<byte[]> batch = nextBatch();
                if (batch == null) {
                    return;
                }
                deliver(batch);
            } catch (Throwable t) {
                // Out of memory, most likely. The batch is still in the queue.
                Log.warnOnce("flinktail: sending is disturbed and goes on: " + Log.line(t));
                pause(slow.next());
            }
        }
    }

    /** Waits for events; null when there were none for so long that the thread should end. */
    private List<byte[]> nextBatch() {
        synchronized (lock) {
            long idle = after(idleMillis);
            while (queue.isEmpty()) {
                if (!await(idle) && !closing) {
                    stop();
                    return null;
                }
                if (closing) {
                    idle = after(idleMillis);
                }
            }
            long full = after(options.lingerMillis);
            while (!closing && queue.size() < options.batchEvents && queuedBytes < BATCH_BYTES && await(full)) {
                // more may come
            }
            List<byte[]> batch = new ArrayList<>();
            int bytes = 0;
            for (byte[] event : queue) {
                if (batch.size() == options.batchEvents || bytes + event.length > BATCH_BYTES) {
                    break;
                }
                batch.add(event);
                bytes += event.length;
            }
            return batch;
        }
    }

    /** Posts the batch until it is settled. Every attempt sends the same bytes. */
    private void deliver(List<byte[]> batch) {
        long news = dropped.getAndSet(0);
        if (news > 0) {
            Log.warn("flinktail: " + news + " events were dropped, the buffer was full or they were refused");
        }
        reporting += news;
        if (reporting > 0) {
            batch.set(0, Event.withDropped(batch.get(0), reporting));
        }
        post(batch);
    }

    private void post(List<byte[]> lines) {
        while (true) {
            Endpoint.Answer answer = endpoint.post(lines);
            switch (answer.verdict) {
                case DELIVERED:
                    reporting = 0;
                    healed();
                    settle(lines.size());
                    return;
                case TOO_LARGE:
                    if (lines.size() > 1) {
                        int half = lines.size() / 2;
                        post(lines.subList(0, half));
                        post(lines.subList(half, lines.size()));
                    } else {
                        refused(lines, answer);
                    }
                    return;
                case REFUSED:
                    refused(lines, answer);
                    return;
                default:
                    pause(Math.max(answer.waitMillis, troubled(answer)));
            }
        }
    }

    private void refused(List<byte[]> lines, Endpoint.Answer answer) {
        Log.warnOnce("flinktail: " + endpoint + " refuses events, they are dropped: " + answer.reason);
        dropped.addAndGet(lines.size() + reporting);
        reporting = 0;
        settle(lines.size());
    }

    private void settle(int count) {
        synchronized (lock) {
            for (int i = 0; i < count; i++) {
                queuedBytes -= queue.remove().length;
            }
            lock.notifyAll();
        }
    }

    /** Says once that events wait, and how long to pause. */
    private long troubled(Endpoint.Answer answer) {
        boolean blocked = answer.verdict == Endpoint.Verdict.BLOCKED;
        failures++;
        if (!troubled && (blocked || failures > QUIET_FAILURES)) {
            troubled = true;
            Log.warn("flinktail: cannot deliver to " + endpoint + ": " + answer.reason + "; events are kept and sent again");
        }
        return (blocked ? slow : backoff).next();
    }

    private void healed() {
        if (troubled) {
            Log.info("flinktail: delivers to " + endpoint + " again");
        }
        troubled = false;
        failures = 0;
        backoff.reset();
        slow.reset();
    }

    /** Sleeps, but not for long while the JVM goes down. */
    private void pause(long millis) {
        synchronized (lock) {
            long end = after(millis);
            boolean hurried = closing;
            if (hurried) {
                end = after(Math.min(millis, CLOSING_PAUSE_MILLIS));
            }
            while (await(end)) {
                if (closing && !hurried) {
                    hurried = true;
                    end = Math.min(end, after(CLOSING_PAUSE_MILLIS));
                }
            }
        }
    }

    /** The shutdown hook: gives what is buffered its last chance. */
    private void flush() {
        synchronized (lock) {
            closing = true;
            lock.notifyAll();
            long end = after(options.flushMillis);
            while (!queue.isEmpty() && await(end)) {
                // the sender is at it
            }
            if (!queue.isEmpty()) {
                Log.warn("flinktail: the JVM exits before " + queue.size() + " events could be delivered to " + endpoint);
            }
        }
    }

    /** Waits for a change, with the lock; false when the time has come. */
    private boolean await(long end) {
        long left = end - System.nanoTime();
        if (left <= 0) {
            return false;
        }
        try {
            lock.wait(left / 1_000_000 + 1);
        } catch (InterruptedException e) {
            // Nobody has a reason to interrupt us, so there is none to stop.
        }
        return true;
    }

    private static long after(long millis) {
        return System.nanoTime() + millis * 1_000_000;
    }
}
