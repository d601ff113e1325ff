"""The tables of a store file.

A call keeps its part and its segment in its own row; only array nodes have rows in ``part`` and ``segment``.
A file of an earlier `VERSION` gets what it lacks (`ADDED`); one of a later is refused.
"""

from __future__ import annotations

__all__ = ["ADDED", "SCHEMA", "VERSION"]

VERSION = 8

ADDED = {
    8: """
create table said(
    node int, fence int, kind text, lo int, body text, value blob,
    primary key(node, fence, kind)) without rowid;
""",
}
"""What a file of the version before lacks, by version."""

SCHEMA = """
create table meta(key text primary key, value) without rowid;
create table run(
    key integer primary key, id text not null unique, name text, meta text, created_at real,
    total int, open int, state text, counts text, ended_at real, worst text,
    held int, lock text);
create index run_ended on run(ended_at) where ended_at is not null;
create table memo(run integer primary key, name text);
create index memo_name on memo(name);
create table node(
    key integer primary key, run int not null, id text not null unique, state text, fn text, args blob,
    width int, array int, queue text, priority int, policy text, label text, created_at real, lane int,
    cursor int, open int, held int, waiting int, returned int, worst text, fence int,
    remaining int, due_at real, expires_at real, alarm_at real, cancelled text, root text,
    final text, source text, started_at real, ended_at real, inputs text, ranged int, growing int,
    part_state text, part_fence int, worker text, until real, attempts int, deliveries int,
    part_started_at real, part_cancelled text, part_error text,
    end_state text, value blob, error text, end_fence int, item_started_at real, took_s real);
create index node_run on node(run);
create index node_ready on node(queue, priority desc, key) where state = 'queued' and lane is null;
create index node_lane on node(lane, state, priority desc, key) where lane is not null;
create index node_alarm on node(alarm_at) where alarm_at is not null;
create index node_source on node(source) where source is not null;
create index node_dead on node(key) where end_state in ('dead', 'failed');
create table edge(
    parent int, child int, position int, mode text, live int, lo int, hi int,
    primary key(parent, child)) without rowid;
create index edge_child on edge(child);
create index edge_range on edge(parent, lo) where hi is not null;
create table page(node int, lo int, hi int, items blob, primary key(node, lo)) without rowid;
create table part(
    node int, lo int, hi int, state text, fence int, worker text, until real, attempts int,
    deliveries int, started_at real, cancelled text, error text, primary key(node, lo)) without rowid;
create index part_state on part(node, state, lo);
create index part_until on part(node, until);
create table segment(
    node int, lo int, hi int, state text, value blob, error text, fence int, attempts int,
    deliveries int, worker text, started_at real, took_s real, origin text, single int,
    primary key(node, lo));
create index segment_dead on segment(node) where state in ('dead', 'failed');
create table log(node int, lo int, text text);
create index log_node on log(node, lo);
create table todo(key integer primary key, node text, after text);
create table event(key integer primary key, at real, body text);
create table worker(id text primary key, view text, seen_at real) without rowid;
create table lane(
    key integer primary key, queue text, name text, open int, shut_by text, unique(queue, name));
create index lane_open on lane(queue) where open = 1;
create index lane_shut on lane(shut_by) where shut_by is not null;
create table limits(name text primary key, body text, alarm_at real) without rowid;
create index limits_alarm on limits(alarm_at) where alarm_at is not null;
create table paused(queue text primary key) without rowid;
create table pending(queue text primary key, calls int) without rowid;
create table lock(name text primary key, run text, until real) without rowid;
create table gone(id text primary key, at real) without rowid;
create table blob(node int, name text, primary key(node, name)) without rowid;
""" + "".join(ADDED.values())
